"""Every setting is described where it is declared: the configuration reference is generated from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from serve_app.settings import StrictModel
from serve_app.settings.application import Settings


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Settings models anywhere in a type: `Mapping[str, ModelSettings]`, `A | B`, `Annotated[…]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def settings_tree(root: type[BaseModel]) -> list[type[BaseModel]]:
    """The root and all models below it, each once."""
    found: dict[type[BaseModel], None] = {}
    waiting = [root]
    while waiting:
        model = waiting.pop()
        if model not in found:
            found[model] = None
            for field in model.model_fields.values():
                waiting.extend(models_in(field.annotation))
    return list(found)


def undescribed(model: type[BaseModel]) -> list[str]:
    """The fields without one sentence that ends in a full stop."""
    described = {name: field.description or "" for name, field in model.model_fields.items()}
    return [name for name, text in described.items() if not text.endswith(".") or ". " in text]


@pytest.mark.parametrize("model", settings_tree(Settings), ids=lambda model: model.__name__)
def test_every_field_is_described_in_one_sentence(model: type[BaseModel]) -> None:
    assert model.__doc__
    assert undescribed(model) == []


def test_the_tree_reaches_every_kind_of_settings() -> None:
    names = {model.__name__ for model in settings_tree(Settings)}
    assert {"ModelSettings", "OffloadedPlacement", "MaxMemory", "S3Settings", "AutoscalingSettings"} <= names


def test_a_field_without_a_description_is_found() -> None:
    class Planted(StrictModel):
        described: int = 1
        """It is described."""
        silent: int = 2

    class Root(StrictModel):
        planted: dict[str, Planted | None] = {}
        """It holds the planted ones."""

    assert [undescribed(model) for model in settings_tree(Root)] == [[], ["silent"]]

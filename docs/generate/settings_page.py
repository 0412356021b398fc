"""docs/configuration.md: every key of a deploy file's `args`, from `serve_app.settings`."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generate.markdown import table
from serve_app.settings import StrictModel
from serve_app.settings.application import Settings
from serve_app.settings.model import License, ModelName, Revision
from serve_app.settings.placement import Size

_HEAD = """\
# Configuration reference

Made by `python -m docs.generate` from `serve_app/settings`. A test fails when this page and the settings differ.

A deploy file is Ray Serve's: its `applications[].args` are the settings below. `serve_app/configs/local.yaml` is a short
one, `serve_app/configs/aws.yaml` a long one.

```yaml
http_options: {host: 127.0.0.1, port: 8000}
applications:
  - name: musicgen
    route_prefix: /
    import_path: serve_app.graph:build
    args:
      default_model: etude
      models:
        etude: {source: "package:etude", license: CC0-1.0}
```

`musicgen check FILE` finds every mistake before anything starts: an unknown key (Serve's own included), a value of
another type, settings that contradict each other. A number for a text, or a text for a number, is a mistake. Sizes are
written `20GB`, `1.5GB`, `500MB` or `6GiB`.

The state folder, where folders written `./…` begin, is the one in the environment variable `MUSICGEN_STATE`; without it the
checkout, or for an installed package the folder in which the service is started.
"""

# Where in a deploy file each class' keys are.
_PLACES: Mapping[str, str] = {
    "Settings": "args",
    "ModelSettings": "models.<name>",
    "ReplicaSettings": "ingress, pipeline, models.<name>.text_encoder, .language_model, .batch_language_model, "
    ".codec_decoder",
    "AutoscalingSettings": "autoscaling",
    "CpuPlacement": "placement: cpu",
    "GpuPlacement": "placement: gpu",
    "GpusPlacement": "placement: gpus",
    "OffloadedPlacement": "placement: offloaded",
    "MaxMemory": "placement.max_memory",
    "HttpSettings": "http",
    "CacheSettings": "cache",
    "FolderSettings": "cache.store: folder",
    "S3Settings": "cache.store: s3",
    "NoStore": "cache.store: none",
    "DatabaseSettings": "records",
    "JobsSettings": "jobs",
    "AuthSettings": "access",
    "LimitsSettings": "access.limits",
    "AuditSettings": "access.audit",
}
_KINDS: Sequence[tuple[Any, str]] = (
    (Size, "size"),
    (ModelName, "name of a model"),
    (License, "licence (SPDX)"),
    (Revision, "40 hex digits"),
)
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", SecretStr: "text, secret"}


def settings_page() -> str:
    """The whole page."""
    return _HEAD + "".join(map(_section, setting_models()))


def setting_models() -> list[type[StrictModel]]:
    """The settings' classes, each once, outer ones first."""
    found: dict[type[StrictModel], None] = {}

    def walk(model: type[StrictModel]) -> None:
        if model not in found:
            found[model] = None
            for inner in (each for info in model.model_fields.values() for each in _models(info.annotation)):
                walk(inner)

    walk(Settings)
    return list(found)


def _models(annotation: Any) -> Iterator[type[StrictModel]]:
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


def _section(model: type[StrictModel]) -> str:
    title = _PLACES[model.__name__]
    told = " ".join((model.__doc__ or "").split("\n\n")[0].split())
    rows = [
        (f"`{name}`", _type(info), _default(info), info.description or "") for name, info in model.model_fields.items()
    ]
    places = title.split(", ")
    heading = f"`{title}`" if len(places) == 1 else "Replicas"
    where = "" if len(places) == 1 else f"\nIn {', '.join(f'`{each}`' for each in places)}.\n"
    return f"\n## {heading}\n\n{told}\n{where}\n{table(('key', 'type', 'default', 'meaning'), rows)}"


def _anchor(model: type[StrictModel]) -> str:
    """As GitHub and mkdocs make it of the heading."""
    place = _PLACES[model.__name__]
    return "replicas" if ", " in place else re.sub(r"[^\w -]", "", place).strip().lower().replace(" ", "-")


def _type(info: FieldInfo) -> str:
    return _named(info.annotation, info.metadata)


def _named(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type in words. metadata: the bounds."""
    for kind, name in _KINDS:
        if annotation == kind or (annotation is str and set(metadata) & set(_checks(kind))):
            return name
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(inner[0], inner[1:])
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin in (Union, types.UnionType):
        words = [_named(each, () if each is type(None) else metadata) for each in inner]
        return " or ".join(dict.fromkeys(words))
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return f"[{_short(annotation)}](#{_anchor(annotation)})"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {_named(inner[0])} to {_named(inner[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"list of {_named(inner[0])}"
    return _NAMES[annotation] + _bounds(metadata)


def _checks(kind: Any) -> list[AfterValidator]:
    return [each for each in get_args(kind)[1:] if isinstance(each, AfterValidator)]


def _short(model: type[StrictModel]) -> str:
    place = _PLACES[model.__name__]
    return "replicas" if ", " in place else place.rpartition(": ")[2].rpartition(".")[2].replace("<name>", "model")


def _bounds(metadata: Sequence[Any]) -> str:
    flat = [bound for each in metadata for bound in (each.metadata if isinstance(each, FieldInfo) else [each])]
    said = [
        f"{sign} {getattr(each, name):g}"
        for each in flat
        for kind, sign, name in ((Ge, "≥", "ge"), (Gt, ">", "gt"), (Le, "≤", "le"), (Lt, "<", "lt"))
        if isinstance(each, kind)
    ]
    return f" {' and '.join(said)}" if said else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    assert value is not PydanticUndefined, info
    if isinstance(value, BaseModel):
        said = value.model_dump(exclude_defaults=True, mode="json")
        if "kind" in type(value).model_fields:
            return f"`{type(value).model_fields['kind'].default}`"
        return f"`{_yaml(said)}`" if said else "its own defaults"
    if isinstance(value, SecretStr):
        return f"`{value.get_secret_value()}`"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """As a deploy file has it, in one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_yaml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return json.dumps(value)

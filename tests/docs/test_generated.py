"""The pages that are made from the code are what the code makes now, and leave nothing out."""

from __future__ import annotations

import re

import pytest
import yaml

from deployments.paths import ROOT
from docs.generate import COMMAND, PAGES
from docs.generate.command_page import command_page
from docs.generate.errors_page import REMEDIES, error_types, errors_page
from docs.generate.packages_diagram import layers, packages_diagram, unit_of, units
from docs.generate.settings_page import setting_models, settings_page
from serve_app.cli.main import app
from serve_app.errors import ServiceError
from serve_app.settings.application import Settings
from tests.docs.pages import blocks


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_not_stale(name: str) -> None:
    is_right = (ROOT / name).read_text(encoding="utf-8") == PAGES[name]()
    assert is_right, f"{name} is not what the code says now; write it anew: .venv/bin/{COMMAND} {name}"


class TestSettings:
    def test_every_key_has_a_row_and_a_meaning(self) -> None:
        page = settings_page()
        sections = page.split("\n## ")[1:]
        models = setting_models()
        assert len(sections) == len(models)
        for section, model in zip(sections, models, strict=True):
            rows = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in section.splitlines() if line.startswith("| `")]
            assert [row[0] for row in rows] == [f"`{name}`" for name in model.model_fields], model
            for row, field in zip(rows, model.model_fields.values(), strict=True):
                assert len(row) == 4
                assert all(row), (model, row)
                assert row[3] == " ".join((field.description or "").split()).replace("|", "\\|")

    def test_every_part_of_the_settings_is_in_it(self) -> None:
        assert {each.__name__ for each in setting_models()} >= {
            "Settings",
            "ModelSettings",
            "S3Settings",
            "JobsSettings",
        }

    def test_every_link_in_it_leads_to_a_part_of_it(self) -> None:
        page = settings_page()
        headings = {
            re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall("^## (.+)$", page, re.M)
        }
        assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings

    def test_its_example_is_a_deploy_file(self) -> None:
        ((language, code),) = blocks(ROOT / "docs" / "configuration.md")
        assert language == "yaml"
        Settings.model_validate(yaml.safe_load(code)["applications"][0]["args"])


class TestErrors:
    def test_every_type_has_one_row_with_what_to_do(self) -> None:
        rows = [line.split(" | ") for line in errors_page().splitlines() if re.match(r"\| \d", line)]
        assert [(row[0], row[1]) for row in rows] == [(f"| {each.status}", f"`{each.type}`") for each in error_types()]
        assert all(len(row) == 4 and row[2].endswith((".", ")")) for row in rows)

    def test_no_type_is_forgotten(self) -> None:
        every: set[type[ServiceError]] = set()
        left = [ServiceError]
        while left:
            children = left.pop().__subclasses__()
            every.update(children)
            left += children
        ours = {each for each in every if each.__module__.startswith("serve_app.")}
        assert {each.type for each in ours} == {each.type for each in error_types()} == set(REMEDIES)


class TestPackages:
    def test_each_imports_from_lower_rows_only(self) -> None:
        graph = units()
        row_of = {unit: number for number, row in enumerate(layers(graph)) for unit in row}
        assert row_of.keys() == graph.keys()
        for unit, imported in graph.items():
            assert all(row_of[each] > row_of[unit] for each in imported)

    def test_every_package_is_drawn(self) -> None:
        picture = packages_diagram()
        files = [path for top in ("serve_app", "deployments") for path in (ROOT / top).glob("*/__init__.py")]
        packages = {str(path.parent.relative_to(ROOT)) for path in files}
        assert packages
        assert all(f">{each}</text>" in picture for each in packages)

    def test_a_circle_is_named(self) -> None:
        with pytest.raises(ValueError, match="a/b → a/c → a/b"):
            layers({"a/b": {"a/c"}, "a/c": {"a/b"}})

    def test_a_module_belongs_to_its_package(self) -> None:
        assert unit_of("serve_app.api.routes.music") == "serve_app/api"
        assert unit_of("deployments.messages") == "deployments/messages"


def test_every_command_is_told_of_with_an_example() -> None:
    page = command_page()
    names = [each.name or each.callback.__name__ for each in app.registered_commands if each.callback]
    for name in [*names, *(group.typer_instance.info.name for group in app.registered_groups if group.typer_instance)]:
        assert f"## musicgen {name}\n" in page
    assert page.count("```text\nmusicgen") >= len(names)

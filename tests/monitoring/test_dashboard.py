"""The dashboard is one that Grafana shows as it is meant, and that whoever looks at can read."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.files import DASHBOARD, expressions_of_panels, panels, promtool

WIDTH = 24
CONTENT: dict[str, Any] = json.loads(DASHBOARD.read_text())
ALL: list[dict[str, Any]] = CONTENT["panels"]


def test_no_two_panels_lie_over_each_other_or_beyond_the_edge() -> None:
    taken: dict[tuple[int, int], int] = {}
    for panel in ALL:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= WIDTH
        columns = range(place["x"], place["x"] + place["w"])
        for cell in itertools.product(columns, range(place["y"], place["y"] + place["h"])):
            assert taken.setdefault(cell, panel["id"]) == panel["id"]


def test_every_line_of_the_grid_is_full_so_that_no_panel_moves_up() -> None:
    lines: dict[int, int] = {}
    for panel in ALL:
        place = panel["gridPos"]
        for y in range(place["y"], place["y"] + place["h"]):
            lines[y] = lines.get(y, 0) + place["w"]
    assert set(lines.values()) == {WIDTH}
    assert sorted(lines) == list(range(len(lines)))


def test_panels_are_told_apart_by_their_ids_and_queries_by_their_letters() -> None:
    ids = [panel["id"] for panel in ALL]
    assert len(set(ids)) == len(ids)
    for panel in panels(DASHBOARD):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("panel", panels(DASHBOARD), ids=lambda panel: f"{panel['id']}-{panel['title']}")
def test_every_panel_has_a_title_a_description_a_unit_and_a_legend_and_asks_the_chosen_source(
    panel: dict[str, Any],
) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_every_variable_that_is_used_is_one_of_the_dashboard_or_grafanas_own() -> None:
    assert [each["name"] for each in CONTENT["templating"]["list"]] == ["datasource", "model"]
    assert [expression for expression in expressions_of_panels(DASHBOARD) if "$" in expression] == []


def test_promtool_takes_every_expression(tmp_path: Path) -> None:
    own = [CONTENT["annotations"]["list"][0]["expr"], "musicgen_models"]
    recorded = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate([*expressions_of_panels(DASHBOARD), *own])
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in promtool("check", "rules", file)

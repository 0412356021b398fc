"""The rules are right to promtool, fire when they should, and say to whoever is woken what to do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.paths import ROOT
from serve_app import errors
from serve_app.api.job_response import GENERATIONS_PATH
from serve_app.errors import ClientClosedRequest, ServiceError, TooBusy
from serve_app.telemetry.service_metrics import BROKEN, OK
from tests.monitoring.files import PROMETHEUS, RULE_TESTS, RULES, alerts, promtool, rules, selectors
from tests.serve_app.api.service import service

MONTH_H = 30 * 24
WINDOWS_H = {"5m": 1 / 12, "30m": 0.5, "1h": 1, "2h": 2, "6h": 6, "1d": 24, "3d": 72}
ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ServiceError)]


def expressions_of_tests() -> Iterator[tuple[str, bool]]:
    """Every expression of the unit tests, and whether it has to find something."""
    for file in RULE_TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for each in test["promql_expr_test"]:
                yield each["expr"], bool(each["exp_samples"])


def is_about(expression: str, alert: str) -> bool:
    return any(
        re.fullmatch(pattern, alert) if operator == "=~" else pattern == alert
        for operator, pattern in re.findall(r'ALERTS\{[^}]*alertname(=~?)"([^"]+)"', expression)
    )


def of_requests() -> list[dict[str, str]]:
    """The matchers of all selectors of requests in the objective."""
    found = [each for rule in rules() for each in selectors(rule["expr"]) if each.metric == "musicgen_requests_total"]
    return [{label: value for label, _, value in each.matchers} for each in found]


def test_promtool_takes_the_rules_and_the_configuration_that_names_them() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", RULES)
    assert "1 rule files found" in promtool("check", "config", PROMETHEUS)


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.name)
def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_is_tested_both_firing_and_silent(alert: dict[str, Any]) -> None:
    tested = {fires for expression, fires in expressions_of_tests() if is_about(expression, alert["alert"])}
    assert tested == {True, False}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith("Musicgen")
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook"} == {name for name, text in alert["annotations"].items() if text}
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"


def test_the_page_on_operations_explains_every_alert_where_its_runbook_leads_and_no_other() -> None:
    operating = (ROOT / "docs" / "operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    explained = re.findall(r'<a id="(musicgen[a-z]+)"></a>`(Musicgen\w+)` \| (\w+) \|', operating)
    there_are = [(each["alert"].lower(), each["alert"], each["labels"]["severity"]) for each in alerts()]
    assert sorted(explained) == sorted(there_are)


def test_what_is_recorded_over_several_windows_differs_in_nothing_else() -> None:
    windows: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for rule in rules():
        name, _, window = rule.get("record", "").partition(":ratio_rate")
        if window:
            windows[name][window] = rule["expr"].replace(f"[{window}]", "[WINDOW]")
    assert windows.keys() == {"musicgen:request_errors", "musicgen:slow_first_audio"}
    for expressions in windows.values():
        assert expressions.keys() == WINDOWS_H.keys()
        assert len(set(expressions.values())) == 1


def test_each_burn_rate_is_one_of_the_workbooks_and_is_looked_at_over_a_twelfth_of_its_window_too() -> None:
    """2 % of the month's budget in an hour, 5 % in six, 10 % in a day or in three."""
    pair = re.compile(
        r"ratio_rate(\w+) > ([\d.]+) \* ([\d.]+) and musicgen:\w+:ratio_rate(\w+) > ([\d.]+) \* ([\d.]+)\)"
    )
    found: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for alert in alerts():
        for window, rate, budget, short, same_rate, same_budget in pair.findall(alert["expr"]):
            assert (rate, budget) == (same_rate, same_budget)
            assert WINDOWS_H[short] * 12 == WINDOWS_H[window]
            found[budget].append((round(float(rate) * WINDOWS_H[window] / MONTH_H, 6), window))
    workbook = [(0.02, "1h"), (0.05, "6h"), (0.1, "1d"), (0.1, "3d")]
    assert found == {"0.005": workbook, "0.05": workbook}


def test_what_the_service_fails_at_counts_against_it_and_nothing_else() -> None:
    faults = {each.type for each in ERRORS if each is not ServiceError and each.status >= 500} | {TooBusy.type, BROKEN}
    assert ClientClosedRequest.type not in faults
    assert {frozenset(each["outcome"].split("|")) for each in of_requests()} == {
        frozenset(faults),
        frozenset(faults | {OK}),
    }


def test_only_requests_for_music_count() -> None:
    (pattern,) = {each["route"] for each in of_requests()}
    plain = set(service().openapi()["paths"])
    jobs = {
        GENERATIONS_PATH,
        f"{GENERATIONS_PATH}/{{id}}",
        f"{GENERATIONS_PATH}/{{id}}/events",
        f"{GENERATIONS_PATH}/{{id}}/audio",
    }
    counted = {route for route in plain | jobs | {"none"} if re.fullmatch(pattern, route)}
    assert counted == {"/v1/music", "/v1/music/stream", GENERATIONS_PATH, f"{GENERATIONS_PATH}/{{id}}/audio"}

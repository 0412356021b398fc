"""The report runs from end to end without a GPU, and a section that fails does not take the others with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests import gpu_report


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as ended:
        gpu_report.main(["--dry", "--out", str(folder), *arguments])
    return int(str(ended.value.code)), json.loads((folder / "gpu_report.json").read_text())


def test_every_section_runs_and_the_last_line_is_the_whole_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = [name for name in gpu_report.SECTIONS if name != "kernels"]
    status, results = run(tmp_path, "--sections", *sections)
    assert results["failed"] == {}
    assert status == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == results
    for name in sections:
        assert results[name], name
    text = (tmp_path / "gpu_report.md").read_text()
    assert "## bench" in text
    assert "| tiny | float32 | 2 |" in text
    assert all(row["equal_logit_columns"] == 1 for row in results["exactness"])  # type: ignore[attr-defined]


def test_a_section_that_fails_leaves_its_reason_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scale: object) -> object:
        raise ArithmeticError("no such luck")

    monkeypatch.setitem(gpu_report.SECTIONS, "parity", broken)
    status, results = run(tmp_path, "--sections", "parity", "products")
    assert status == 1
    assert "no such luck" in results["failed"]["parity"]  # type: ignore[index]
    assert results["products"]

"""Where things are: the state where it was told to be, a package's checkpoint without importing the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deployments import paths


def test_state_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUSICGEN_STATE", str(tmp_path))
    assert paths.state_path("./build/cache") == tmp_path / "build" / "cache"
    assert paths.state_path("/elsewhere") == Path("/elsewhere")


def test_without_it_state_is_in_the_checkout_and_else_where_the_process_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MUSICGEN_STATE", "")
    monkeypatch.chdir(tmp_path)
    assert paths.state_path("./build/cache") == paths.ROOT / "build" / "cache"
    monkeypatch.setattr(paths, "ROOT", tmp_path / "site-packages")
    assert paths.state_path("./build/cache") == tmp_path / "build" / "cache"


def test_a_packages_checkpoint_is_found_and_the_package_is_not_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sounds" / "checkpoint").mkdir(parents=True)
    (tmp_path / "sounds" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "empty").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert paths.package_checkpoint("package:sounds") == tmp_path / "sounds" / "checkpoint"
    assert "sounds" not in sys.modules
    with pytest.raises(LookupError, match="there is no folder checkpoint in the package empty here"):
        paths.package_checkpoint("package:empty")


@pytest.mark.parametrize("source", ["package:", "package:a.b", "package:../x", "package:A", "./package:a", "a/b"])
def test_other_sources_name_no_package(source: str) -> None:
    assert not paths.is_package_source(source)

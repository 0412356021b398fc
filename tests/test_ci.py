"""CI can't be green over tests that didn't run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest
def test_runs(): pass
def test_skips(): pytest.skip("no such thing here")
@pytest.mark.xfail
def test_is_known_to_fail(): assert False
@pytest.mark.gpu
def test_needs_a_gpu(): pytest.skip("no GPU")
"""


def run_pytest(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parent.parent
    (folder / "conftest.py").write_text("from tests.skips import *\n")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("ci", "summary"), [("true", "1 failed, 1 passed, 1 skipped, 1 xfailed"), ("", "1 passed, 2 skipped, 1 xfailed")]
)
def test_a_skip_fails_in_ci_and_only_there(tmp_path: Path, ci: str, summary: str) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    run = run_pytest(tmp_path, ci)
    assert summary in run.stdout
    assert run.returncode == (1 if ci else 0)


def test_a_run_ends_with_one_list_of_what_was_skipped_and_the_command_that_brings_what_it_needs(tmp_path: Path) -> None:
    needing = """
import pytest
from tests.programs import skip_unsupported, skip_without
@pytest.mark.parametrize("number", range(3))
def test_needs_a_program(number): skip_without("promtool", "apt-get install prometheus")
def test_needs_another_server(): skip_unsupported("quotas", "SeaweedFS", "radosgw", "apt-get install radosgw")
"""
    (tmp_path / "test_needing.py").write_text(needing)
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    (tmp_path / "test_absent.py").write_text("import pytest\npytest.skip('no disk', allow_module_level=True)\n")
    lines = run_pytest(tmp_path, "").stdout.splitlines()
    title = next(number for number, line in enumerate(lines) if line.strip("= ") == "7 skipped")
    assert set(lines[title + 1 : title + 6]) == {
        "3 tests need promtool: apt-get install prometheus",
        "1 test needs radosgw, as SeaweedFS has no quotas: apt-get install radosgw",
        "1 test: no such thing here",
        "1 test: no GPU",
        "1 test: no disk",
    }


def test_in_ci_a_run_of_the_wheels_servers_may_skip_what_they_cannot_do_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_needing.py").write_text("""
from tests.programs import skip_unsupported, skip_without
def test_needs_another_server(): skip_unsupported("quotas", "SeaweedFS", "radosgw", "apt-get install radosgw")
def test_needs_a_program(): skip_without("promtool", "apt-get install prometheus")
""")
    for servers, summary in (("wheels", "1 failed, 1 skipped"), ("", "2 failed")):
        monkeypatch.setenv("TEST_SERVERS", servers)
        assert summary in run_pytest(tmp_path, "true").stdout


@pytest.mark.parametrize(("ci", "status"), [("true", 2), ("", 5)])
def test_a_module_that_skips_itself_fails_in_ci_and_only_there(tmp_path: Path, ci: str, status: int) -> None:
    (tmp_path / "test_absent.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    assert run_pytest(tmp_path, ci).returncode == status


def test_ci_installs_each_package_that_a_test_says_it_needs(project_root: Path) -> None:
    """A machine that has them by chance hides one forgotten: the tests that need it fail on the next machine."""
    advice = re.compile(r"apt-get install --no-install-recommends ([a-z0-9 -]+)")
    sources = [*project_root.glob("tests/**/*.py"), *project_root.glob("etude/**/*.py")]
    needed = {name for path in sources for names in advice.findall(path.read_text()) for name in names.split()}
    assert {"faketime", "fluidsynth", "postgresql", "prometheus", "radosgw", "redis-server"} <= needed
    added = re.findall(r"missing\+=\(([a-z0-9 -]+)\)", (project_root / ".ci/run").read_text())
    assert needed <= {name for names in added for name in names.split()}

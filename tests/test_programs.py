"""A test gets Debian's program where that can be run, else a wheel's, else a skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import of_debian, of_package
from tests.redis_server import redis_server


def install(folder: Path, name: str, mode: int) -> Path:
    program = folder / name
    program.touch(mode)
    program.chmod(mode)
    return program


def test_of_two_names_the_first_that_can_be_run_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_SERVERS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert of_debian("redis-server", "valkey-server") is None
    install(tmp_path, "redis-server", 0o666)
    second = install(tmp_path, "valkey-server", 0o755)
    assert of_debian("redis-server", "valkey-server") == second
    monkeypatch.setenv("TEST_SERVERS", "wheels")
    assert of_debian("redis-server", "valkey-server") is None


def test_a_package_is_looked_into_and_not_imported() -> None:
    assert of_package("no_such_package", "*") is None
    assert of_package("tests", "no-such-file") is None
    assert of_package("tests", "test_progr*.py") == Path(__file__)


def test_a_server_that_is_nowhere_is_a_skip_that_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("tests.redis_server.of_package", lambda *_: None)
    needs = r"^needs redis-server: apt-get install .* redis-server$"
    with pytest.raises(pytest.skip.Exception, match=needs), redis_server(tmp_path):
        pass

"""What holds for every test: a home of its own, a Ray that keeps to itself, servers for all, no silent skips in CI."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import redis_server as redis
from tests.postgresql import PostgresqlServer, postgresql_server
from tests.programs import only_wheels
from tests.redis_server import RedisServer
from tests.s3_server import S3Server, s3_server
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport, pytest_terminal_summary
from tests.workers import group_of, pytest_xdist_make_scheduler

# A submission is judged on examples that are the same each time; whoever works here looks for new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    hypothesis.settings.load_profile("ci")

# Before anything imports Ray, which reads these once. Ray would write a token into the home folder, and use it.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)
# torch's threads wait for one another by spinning: two of them and anything else on two cores make each test crawl.
# Tests of more threads ask for them.
os.environ["OMP_NUM_THREADS"] = "1"

# Hooks, which pytest finds here.
__all__ = [
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
    "pytest_xdist_make_scheduler",
]

_HOME = pytest.StashKey[tuple[tempfile.TemporaryDirectory[str], str | None]]()


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is read from or written to the developer's home."""
    config.stash[_HOME] = tempfile.TemporaryDirectory(prefix="home-"), os.environ.get("HOME")
    os.environ["HOME"] = config.stash[_HOME][0].name


def pytest_unconfigure(config: pytest.Config) -> None:
    """Puts the home back."""
    folder, before = config.stash[_HOME]
    if before is None:
        del os.environ["HOME"]
    else:
        os.environ["HOME"] = before
    folder.cleanup()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In which order workers get tests; and a run of the wheels' servers is of the tests that start one."""
    if hasattr(config, "workerinput"):
        # The largest group first, so that no worker is left alone with it at the end.
        items.sort(key=lambda item: group_of(item.nodeid) != "ray")
    if only_wheels():
        left_out = [item for item in items if not _starts_a_server(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _starts_a_server(item)]


def _starts_a_server(item: pytest.Item) -> bool:
    return bool(_servers(item)) or item.get_closest_marker("server") is not None


def _servers(item: pytest.Item) -> set[str]:
    # A fixture of two databases asks for the server by its parameter.
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    names = {*item.fixturenames, *(each for each in parameters if isinstance(each, str))}
    return names & {"s3", "postgresql", "redis_server"}


@pytest.fixture
def project_root() -> Path:
    """The checkout."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def bucket(s3: S3Server) -> str:
    """A bucket on it."""
    s3.create_bucket("music")
    return "music"


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresqlServer]:
    """A real PostgreSQL, running; who stops or pauses it gives it back running."""
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, running; who stops or pauses it gives it back running."""
    with redis.redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server

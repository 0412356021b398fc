"""Which tests run in one worker of pytest-xdist. For a conftest.py to import.

Marks of pytest-xdist (`xdist_group`) don't reach its scheduler under pytest 9.2, so groups are told by tests' files.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Two Rays that start at once on two busy cores may each wait for the other longer than Ray allows (30 s).
STARTS_RAY = ("tests/service", "tests/serve_app/cli/test_serve.py", "tests/test_package.py")
# One S3 server for all.
STARTS_S3 = ("tests/serve_app/stores", "tests/test_s3_server.py")


class Scheduling(LoadScopeScheduling):
    """A group goes to one worker, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def group_of(nodeid: str) -> str:
    """ "ray", "s3", or the test's file."""
    path = PurePosixPath(nodeid.partition("::")[0])
    for group, places in (("ray", STARTS_RAY), ("s3", STARTS_S3)):
        if any(path.is_relative_to(place) for place in places):
            return group
    return str(path)

"""One S3 server for all tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3_server import INSTALL, S3Server, free_ports, missing_programs, s3_server
from tests.serve_app.cache.cutting_proxy import CuttingProxy


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; the test is skipped where Ceph is not installed."""
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}; `{INSTALL}` brings it")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def bucket(s3: S3Server) -> str:
    """A bucket on it."""
    s3.client().create_bucket(Bucket="music")
    return "music"


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[CuttingProxy]:
    """Stands before the server, and lets everything through unless told otherwise."""
    with CuttingProxy(s3.url, *free_ports(1)).running() as proxy:
        proxy.start()
        yield proxy

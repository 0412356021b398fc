"""What may happen between the S3 server and its clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3_server import S3Server, free_ports
from tests.serve_app.stores.cutting_proxy import CuttingProxy


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[CuttingProxy]:
    """Stands before the server, and lets everything through unless told otherwise."""
    with CuttingProxy(s3.url, *free_ports(1)).running() as proxy:
        proxy.start()
        yield proxy

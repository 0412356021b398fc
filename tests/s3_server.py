"""A real S3 server for tests, Debian's radosgw or the SeaweedFS of a wheel.

Both check signatures, expiry and methods, and can be suspended and have their user's key taken away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests import radosgw, seaweedfs
from tests.programs import skip_without
from tests.s3_base import ACCESS_KEY, KMS_KEY, SECRET_KEY, USER, Keys, S3Server

__all__ = ["ACCESS_KEY", "KMS_KEY", "SECRET_KEY", "USER", "Keys", "S3Server", "s3_server"]


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server of its own on free ports, its files in `folder`; ended on the way out.

    Skips where this machine has none.
    """
    if radosgw.is_installed():
        running = radosgw.radosgw(folder)
    elif program := seaweedfs.program():
        running = seaweedfs.seaweedfs(program, folder)
    else:
        skip_without("radosgw", radosgw.INSTALL)
    with running as server:
        yield server

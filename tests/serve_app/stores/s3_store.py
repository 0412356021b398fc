"""An S3 store on the test server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3

from serve_app.settings.storage import S3Settings
from serve_app.stores.s3 import S3Store
from tests.s3_server import SECRET_KEY, S3Server

# Of one call: much for a server that is well, on a machine however loaded; a test of a slow one waits for it twice.
TIMEOUT_S = 2.0


@contextlib.contextmanager
def opened(
    s3: S3Server,
    secret_key: str = SECRET_KEY,
    clock: Callable[[], float] = time.monotonic,
    new_session: Callable[[], boto3.Session] | None = None,
    **values: Any,
) -> Iterator[S3Store]:
    place = {"kind": "s3", "bucket": "music", "endpoint_url": s3.url, "addressing": "path", **values}
    store = S3Store(
        S3Settings.model_validate(place),
        timeout_s=TIMEOUT_S,
        max_connections=4,
        new_session=new_session or (lambda: s3.session(secret_key)),
        clock=clock,
    )
    with contextlib.closing(store):
        yield store

"""Every store does what a dictionary does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.cache.keys import KINDS
from serve_app.settings.storage import S3Settings
from serve_app.stores.folder import FolderStore
from serve_app.stores.s3 import S3Store
from serve_app.stores.store import BlockingStore
from tests.s3_server import S3Server
from tests.serve_app.cache.cached import InMemory, key, packed

some_keys = st.builds(key, st.integers(0, 2), st.sampled_from(KINDS))
some_entries = st.builds(packed, st.binary(max_size=5_000) | st.just(b"long" * 100_000), st.binary(max_size=1_000))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("get"), some_keys),
        st.tuples(st.just("put"), some_keys, some_entries),
        st.tuples(st.just("delete"), some_keys),
    ),
    max_size=12,
)
NewStore = Callable[[], BlockingStore]


@pytest.fixture
def new_folder_store(tmp_path: Path) -> NewStore:
    numbers = itertools.count()
    return lambda: FolderStore(tmp_path / str(next(numbers)), 2**24, 2**23)


@pytest.fixture(scope="module")
def new_s3_store(s3: S3Server, bucket: str) -> Iterator[NewStore]:
    numbers = itertools.count()
    stores: list[S3Store] = []

    def new_store() -> S3Store:
        place = S3Settings(kind="s3", bucket=bucket, prefix=f"like-a-dictionary/{next(numbers)}/", endpoint_url=s3.url)
        stores.append(S3Store(place, timeout_s=60, max_connections=1, new_session=s3.session))
        return stores[-1]

    yield new_store
    for store in stores:
        store.close()


def check(new_store: NewStore, doings: list[tuple[Any, ...]]) -> None:
    store, reference = new_store(), InMemory()
    for name, *arguments in doings:
        got, expected = (getattr(each, name)(*arguments) for each in (store, reference))
        assert (got and (got.head, got.body)) == (expected and (expected.head, expected.body))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=operations)
def test_a_folder_is_a_dictionary(new_folder_store: NewStore, doings: list[tuple[Any, ...]]) -> None:
    check(new_folder_store, doings)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(doings=operations)
def test_a_bucket_is_a_dictionary(new_s3_store: NewStore, doings: list[tuple[Any, ...]]) -> None:
    check(new_s3_store, doings)

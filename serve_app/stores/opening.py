"""Builds a cache from its settings."""

from __future__ import annotations

import logging
import time

from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache, RecentEntries
from serve_app.faults import Faults
from serve_app.settings.storage import CacheSettings, FolderSettings, S3Settings
from serve_app.stores.circuit_breaker import GuardedStore
from serve_app.stores.folder import FolderStore
from serve_app.stores.s3 import S3Store
from serve_app.stores.store import BlockingStore, NullStore
from serve_app.stores.threads import ThreadedStore

_log = logging.getLogger("ray.serve.cache")  # below Serve's own, whose files and format it shares


def open_cache(settings: CacheSettings, recorder: Recorder = NOT_RECORDED) -> Cache:
    """The cache; nothing is read or connected to yet."""
    faults = Faults(time.monotonic, _log, recorder=recorder.labelled(store="cache"))
    store = ThreadedStore(
        blocking_store(settings),
        num_threads=settings.max_calls,
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )
    memory_bytes = 0 if settings.store.kind == "none" else settings.memory_bytes
    return Cache(GuardedStore(store, faults), RecentEntries(memory_bytes), faults, ttl_s=settings.codes_ttl_s)


def blocking_store(settings: CacheSettings) -> BlockingStore:
    """The store that the settings describe."""
    store = settings.store
    if isinstance(store, FolderSettings):
        return FolderStore(
            store.path,
            store.max_size_bytes,
            store.max_sound_bytes,
            max_age_s=settings.codes_ttl_s,
            lock_timeout_s=settings.write_timeout_s / 2,
        )
    if isinstance(store, S3Settings):
        return S3Store(store, timeout_s=settings.read_timeout_s, max_connections=settings.max_calls)
    return NullStore()

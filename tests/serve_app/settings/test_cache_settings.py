"""The cache's settings: what an operator wrote is what runs, or a sentence says why not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.paths import ROOT
from serve_app.settings import sentence
from serve_app.settings.storage import CacheSettings, FolderSettings, NoStore, S3Settings
from serve_app.stores.folder import FolderStore
from serve_app.stores.opening import blocking_store, open_cache
from serve_app.stores.s3 import S3Store
from serve_app.stores.store import NullStore
from tests.serve_app.cache.cached import MODEL, REQUEST, codes_of


def settings(**values: Any) -> CacheSettings:
    return CacheSettings.model_validate(values)


def complaint(**values: Any) -> str:
    with pytest.raises(ValidationError) as failure:
        settings(**values)
    return sentence(failure.value)


def s3(**values: Any) -> dict[str, Any]:
    return {"kind": "s3", "bucket": "music", **values}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"codes_ttl": 5}, "unknown key 'codes_ttl', did you mean 'codes_ttl_s'?"),
        ({"codes_ttl_s": 0}, "codes_ttl_s: Input should be greater than 0"),
        ({"codes_ttl_s": "never"}, "codes_ttl_s: Input should be a valid number"),
        ({"read_timeout_s": 61}, "read_timeout_s: Input should be less than or equal to 60"),
        ({"memory_size": "much"}, "'much' is not a size like 20GB"),
        ({"store": "disk"}, "store: 'disk' is no store; there are folder, none, {kind: folder"),
        ({"store": "s3"}, "store: 's3' is no store"),
        ({"store": {"folder": "./x"}}, "store: None is no store"),
        ({"store": {"kind": "folder", "folder": "cache"}}, "'cache' is not written as a folder: ./cache or /cache"),
        ({"store": {"kind": "folder", "max_size": "1GB"}}, "1.5GB leaves nothing of 1GB"),
        ({"store": {"kind": "folder", "size": "1GB"}}, "unknown key 'size', did you mean 'max_size'?"),
        ({"store": s3(bucket="Music")}, "'Music' is not a bucket's name"),
        ({"store": s3(prefix="music")}, "'music' is not a prefix like musicgen/"),
        ({"store": s3(prefix="a/../b/")}, "'a/../b/' is not a prefix"),
        ({"store": s3(prefix="/")}, "'/' is not a prefix"),
        ({"store": s3(endpoint_url="minio:9000")}, "endpoint_url is written https://host or http://host:port"),
        ({"store": s3(secret_key="x")}, "unknown key 'secret_key'"),
        ({"store": s3(sse="aes")}, "Input should be 'AES256' or 'aws:kms'"),
        ({"store": s3(sse="AES256", sse_kms_key_id="k")}, "sse_kms_key_id is for sse: aws:kms"),
        ({"store": s3(tags={f"tag{number}": "x" for number in range(11)})}, "at most 10 items"),
        ({"store": s3(max_attempts=0)}, "max_attempts: Input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(values: dict[str, Any], said: str) -> None:
    assert said in complaint(**values)


def test_credentials_in_an_endpoint_are_refused_and_not_repeated() -> None:
    said = complaint(store=s3(endpoint_url="https://user:canary@host"))
    assert "endpoint_url must hold no credentials" in said
    assert "canary" not in said


def test_what_is_not_said_is_a_folder_for_a_day() -> None:
    cache = settings()
    assert cache.codes_ttl_s == 86_400
    assert isinstance(cache.store, FolderSettings)
    assert cache.store.path == ROOT / "build" / "cache"
    assert (cache.store.max_size_bytes, cache.store.max_sound_bytes) == (2 * 10**9, 15 * 10**8)
    assert cache.memory_bytes == 64 * 10**6
    assert settings(memory_size=0).memory_bytes == 0
    assert settings(codes_ttl_s=None).codes_ttl_s is None


def test_a_store_is_said_in_a_word_or_more_exactly() -> None:
    assert isinstance(settings(store="folder").store, FolderSettings)
    assert isinstance(settings(store="none").store, NoStore)
    assert isinstance(settings(store={"kind": "none"}).store, NoStore)
    assert isinstance(settings(store=s3()).store, S3Settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().codes_ttl_s = 3


def test_each_kind_opens_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    stores = {"none": "none", "folder": {"kind": "folder", "folder": str(tmp_path)}, "s3": s3()}
    for kind, expected in {"none": NullStore, "folder": FolderStore, "s3": S3Store}.items():
        store = blocking_store(settings(store=stores[kind]))
        assert type(store) is expected
        store.close()


@pytest.mark.parametrize("kind", ["none", "folder"])
def test_an_opened_cache_keeps_as_much_as_its_store(kind: str, tmp_path: Path) -> None:
    stores = {"none": "none", "folder": {"kind": "folder", "folder": str(tmp_path)}}

    async def ask() -> list[str]:
        cache = open_cache(settings(store=stores[kind]))
        outcomes = []
        for _ in range(2):
            found = await cache.look_up(REQUEST, "use", 7, num_frames=5)
            await cache.keep_codes(found.key, codes_of(REQUEST, 7, 5), MODEL.numerics)
            outcomes.append(found.decision.outcome)
        await cache.close()
        return outcomes

    assert asyncio.run(ask()) == ["miss", "hit" if kind == "folder" else "miss"]

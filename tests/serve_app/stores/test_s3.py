"""The S3 store against a real server."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from serve_app.settings.storage import S3Settings
from serve_app.stores.s3 import S3Store
from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable
from tests.s3_server import ACCESS_KEY, KMS_KEY, SECRET_KEY, S3Server
from tests.serve_app.cache.cached import Clock, key, packed
from tests.serve_app.stores.cutting_proxy import CuttingProxy
from tests.serve_app.stores.s3_store import TIMEOUT_S, opened
from tests.serve_app.stores.sessions import expired_keys, lending_gateway, lent_keys, write_keys


def test_an_object_is_the_sound_and_has_the_tags_and_the_encryption_asked_for(s3: S3Server, bucket: str) -> None:
    client = s3.client()
    tags = {"project": "music gen", "keep": "a/day"}
    place = key(1, "sound")
    with opened(s3, prefix="team/", sse="aws:kms", sse_kms_key_id=KMS_KEY, tags=tags) as store:
        store.put(place, replace(packed(b"RIFF", b"h" * 1400), media_type="audio/wav"))
        assert store.get(place) == replace(packed(b"RIFF", b"h" * 1400), media_type="audio/wav")
    there = client.get_object(Bucket=bucket, Key=f"team/{place}")
    assert there["Body"].read() == b"RIFF"
    assert there["ContentType"] == "audio/wav"
    assert (there["ServerSideEncryption"], there["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY)
    tagged = client.get_object_tagging(Bucket=bucket, Key=f"team/{place}")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tagged} == tags
    client.close()


def test_a_link_gives_the_sound_to_whoever_has_it_and_to_nobody_who_changed_it(s3: S3Server, bucket: str) -> None:
    place = key("linked", "sound")
    with opened(s3) as store:
        store.put(place, replace(packed(b"RIFF"), media_type="audio/wav"))
        link = store.link(place, 60, 'a "slow" blués.wav')
        short = store.link(place, 1, "x.wav")
    with httpx.Client(trust_env=False) as web:
        answer = web.get(link)
        assert (answer.status_code, answer.content) == (200, b"RIFF")
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20%22slow%22%20blu%C3%A9s.wav"
        tampered = link.replace(place.digest, key("other", "sound").digest)
        longer = short.replace("X-Amz-Expires=1&", "X-Amz-Expires=600&")
        assert longer != short
        assert [web.get(tampered).status_code, web.get(longer).status_code] == [403, 403]
        assert [web.put(link, content=b"x").status_code, web.delete(link).status_code] == [403, 403]
        until = time.monotonic() + 20
        while web.get(short).status_code != 403:
            assert time.monotonic() < until, "the link never expired"
            time.sleep(0.1)


def test_a_lost_connection_is_tried_again(s3: S3Server, bucket: str, proxy: CuttingProxy) -> None:
    with opened(s3, endpoint_url=proxy.url) as store:
        store.put(key("retried"), packed(b"x"))
    proxy.cut_after, proxy.connections_to_cut = 0, 1
    with opened(s3, endpoint_url=proxy.url, max_attempts=2) as store:
        assert store.get(key("retried")) == packed(b"x")
    assert proxy.connections_to_cut == 0
    proxy.connections_to_cut = 1
    with opened(s3, endpoint_url=proxy.url, max_attempts=1) as store, pytest.raises(StoreUnreachable):
        store.get(key("retried"))


def test_an_object_that_is_no_entry_is_told_from_none(s3: S3Server, bucket: str) -> None:
    client = s3.client()
    client.put_object(Bucket=bucket, Key=f"musicgen/{key('foreign')}", Body=b"x", Metadata={"entry": "*no base64*"})
    client.put_object(Bucket=bucket, Key=f"musicgen/{key('bare')}", Body=b"x")
    client.close()
    with opened(s3) as store:
        for name in ("foreign", "bare"):
            found = store.get(key(name))
            assert found
            assert (found.head, found.body) == (b"", b"x")
        assert store.get(key("none")) is None


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"bucket": "no-such-bucket"}, StoreError, r"S3 \w+: NoSuchBucket \(404\)"),
        ({"secret_key": "canary-of-a-wrong-secret"}, StoreDenied, r"S3 \w+: SignatureDoesNotMatch \(403\)"),
        ({"endpoint_url": "http://127.0.0.1:1"}, StoreUnreachable, r"S3 \w+: EndpointConnectionError"),
    ],
)
def test_errors_are_told_by_code_and_hold_no_secret(
    s3: S3Server, bucket: str, values: dict[str, Any], error: type[StoreError], said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with caplog.at_level(logging.DEBUG), opened(s3, **values) as store:
        for ask in (lambda: store.get(key(1)), lambda: store.put(key(1), packed(b"x")), lambda: store.delete(key(1))):
            with pytest.raises(error, match=said) as failure:
                ask()
            assert type(failure.value) is error
    for secret in (SECRET_KEY, ACCESS_KEY, "canary"):
        assert secret not in str(failure.value)
    for secret in (SECRET_KEY, "canary-of-a-wrong-secret"):
        assert secret not in caplog.text


def test_without_credentials_it_is_denied(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    place = S3Settings(kind="s3", bucket=bucket, endpoint_url=s3.url, region="us-east-1")
    store = S3Store(place, timeout_s=TIMEOUT_S, max_connections=1)
    with contextlib.closing(store), pytest.raises(StoreDenied, match="S3 get: no credentials were found"):
        store.get(key(1))


def test_keys_exchanged_for_others_in_their_file_are_used_without_a_restart(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with lending_gateway(s3) as url:
        expired, lent = expired_keys(s3, url, bucket), lent_keys(s3, url, 900)
        write_keys(file, expired)
        clock = itertools.count().__next__
        with opened(s3, endpoint_url=url, new_session=boto3.Session, clock=clock) as store:
            for ask in (lambda: store.get(key("lent")), lambda: store.put(key("lent"), packed(b"x"))):
                with pytest.raises(StoreDenied, match=r"S3 \w+: AccessDenied \(403\)"):
                    ask()
            file.write_text("[default")
            with pytest.raises(StoreUnreachable, match="S3 get: ConfigParseError"):
                store.get(key("lent"))
            write_keys(file, lent)
            store.put(key("lent"), packed(b"x"))
            assert store.get(key("lent")) == packed(b"x")


def test_a_crowd_that_is_denied_at_once_looks_for_other_keys_once(s3: S3Server, bucket: str) -> None:
    made: list[boto3.Session] = []

    def new_session() -> boto3.Session:
        made.append(s3.session("wrong"))
        return made[-1]

    clock = Clock(0.0)
    with opened(s3, new_session=new_session, clock=clock) as store:
        for clock.now_s, num_made in ((0.5, 1), (1.0, 2), (1.5, 2), (2.0, 3)):
            for _ in range(5):
                with pytest.raises(StoreDenied):
                    store.get(key(1))
            assert len(made) == num_made


def test_a_body_that_trickles_does_not_keep_a_thread(s3: S3Server, bucket: str) -> None:
    # By this clock a second goes by with every look at it, so each piece of the body takes one.
    with opened(s3, clock=itertools.count().__next__) as store:
        store.put(key("trickling"), packed(bytes(2**20)))
        with pytest.raises(StoreTimeout, match="the body took more than 2 s"):
            store.get(key("trickling"))


@contextlib.contextmanager
def answering(status: int, code: str) -> Iterator[tuple[str, list[str]]]:
    """A server that has one answer to everything: its URL, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is the library's
            asked.append(self.path)
            body = f"<Error><Code>{code}</Code><Message>canary</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code", "error", "num_attempts"),
    [
        (503, "SlowDown", StoreUnreachable, 3),
        (500, "InternalError", StoreUnreachable, 3),
        (400, "ExpiredToken", StoreDenied, 1),
        (403, "RequestTimeTooSkewed", StoreDenied, 1),
        (507, "InsufficientStorage", StoreFull, 1),
        (400, "InvalidArgument", StoreError, 1),
    ],
)
def test_what_this_server_never_says_is_told_apart_and_tried_again_only_where_that_may_help(
    s3: S3Server, status: int, code: str, error: type[StoreError], num_attempts: int
) -> None:
    with answering(status, code) as (url, asked):
        with opened(s3, endpoint_url=url, max_attempts=3) as store, pytest.raises(StoreError) as failure:
            store.get(key(1))
        assert type(failure.value) is error
        assert str(failure.value) == f"S3 get: {code} ({status})"
        assert len(asked) == num_attempts

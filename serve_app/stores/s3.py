"""The store for a cluster: a bucket at any endpoint that speaks S3.

An object's body is the entry's body, and its metadata the entry's head (base64). So a link to sound gives the sound.
Credentials are boto3's business: environment, profile, role; none is in the settings, and no error repeats what the
server or a library said beyond its code. A role's are renewed by boto3 before they expire. Those in a file are not, so
they are looked up anew when the server has denied us: a key may be exchanged for another without a restart.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key
from serve_app.settings.storage import S3Settings
from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable

_HEAD = "entry"
_CHUNK_BYTES = 1 << 18
# Making a client takes a tenth of a second of the processor, which a crowd that is denied at once must not multiply.
_CLIENT_LASTS_S = 1.0
# These come with 400, like any mistake.
_EXPIRED = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
_FULL = frozenset({"QuotaExceeded", "EntityTooLarge", "InsufficientStorage"})

_Result = TypeVar("_Result")


class S3Store:
    """A store in a bucket of S3, or of a service with its API.

    new_session: makes a session, and finds its credentials; boto3's own search if not given.
    timeout_s: of one answer, and of one whole body. max_connections: at once. clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: S3Settings,
        *,
        timeout_s: float,
        max_connections: int,
        new_session: Callable[[], boto3.Session] = boto3.Session,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._timeout_s = timeout_s
        self._new_session = new_session
        self._config = Config(
            connect_timeout=min(timeout_s, settings.connect_timeout_s),
            read_timeout=timeout_s,
            # Full jitter, and a budget of retries for the whole client; one attempt more than retries.
            retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
            max_pool_connections=max_connections,
            signature_version="s3v4",
            s3={"addressing_style": settings.addressing},
            tcp_keepalive=True,
            # Entries carry a checksum of their own; trailing ones are unknown to many servers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._changing = threading.Lock()
        self._s3: Any = self._new_client()
        self._made_s = clock()

    def get(self, key: Key) -> Packed | None:
        """Raises: StoreError; StoreUnreachable for half a body."""
        try:
            return self._call("get", lambda s3: self._get(s3, key))
        except _NoSuchObject:
            return None

    def put(self, key: Key, entry: Packed) -> None:
        """Raises: StoreError; StoreFull where a quota is reached."""
        self._call(
            "put",
            lambda s3: s3.put_object(
                **self._place(key),
                Body=entry.body,
                ContentType=entry.media_type,
                Metadata={_HEAD: base64.b64encode(entry.head).decode("ascii")},
                **self._put_options(),
            ),
        )

    def delete(self, key: Key) -> None:
        """Raises: StoreError."""
        self._call("delete", lambda s3: s3.delete_object(**self._place(key)))

    def link(self, key: Key, expires_s: int, file_name: str) -> str:
        """A URL that GETs the entry's body, signed for `expires_s` from now. Raises: StoreError."""
        disposition = f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"
        parameters = {**self._place(key), "ResponseContentDisposition": disposition}
        return self._call(
            "link", lambda s3: str(s3.generate_presigned_url("get_object", parameters, ExpiresIn=expires_s))
        )

    def close(self) -> None:
        """Closes the connections."""
        with self._changing:
            if self._s3 is not None:
                self._s3.close()

    def _new_client(self) -> Any:
        place = self._settings
        return self._new_session().client(
            "s3", endpoint_url=place.endpoint_url, region_name=place.region, config=self._config
        )

    def _client(self) -> Any:
        with self._changing:
            if self._s3 is None:
                self._s3 = self._new_client()
                self._made_s = self._clock()
            return self._s3

    def _give_up(self, denied: Any) -> None:
        """The next call makes another client, with the credentials that there are then."""
        with self._changing:
            if self._s3 is denied and self._clock() - self._made_s >= _CLIENT_LASTS_S:
                self._s3 = None
                denied.close()  # others' calls that are under way come to their own end

    def _get(self, s3: Any, key: Key) -> Packed:
        answer = s3.get_object(**self._place(key))
        until = self._clock() + self._timeout_s
        pieces = []
        body = answer["Body"]
        try:
            # Checks that as many bytes came as were promised. The read time-out is of each piece: a server that sends
            # one now and then would keep the thread for as long as it likes.
            for piece in body.iter_chunks(_CHUNK_BYTES):
                pieces.append(piece)
                if self._clock() > until:
                    raise StoreTimeout(f"S3 get: the body took more than {self._timeout_s:g} s")
        finally:
            body.close()
        return Packed(_decoded(answer["Metadata"].get(_HEAD, "")), b"".join(pieces), answer.get("ContentType", ""))

    def _place(self, key: Key) -> dict[str, str]:
        return {"Bucket": self._settings.bucket, "Key": f"{self._settings.prefix}{key}"}

    def _put_options(self) -> Mapping[str, str]:
        settings = self._settings
        options = {
            "ServerSideEncryption": settings.sse,
            "SSEKMSKeyId": settings.sse_kms_key_id,
            "Tagging": urlencode(settings.tags, quote_via=quote) or None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def _call(self, what: str, ask: Callable[[Any], _Result]) -> _Result:
        """The answer. Raises: StoreError, made of codes and class names alone, for texts may hold secrets."""
        s3 = None
        try:
            s3 = self._client()
            return ask(s3)
        except ClientError as error:
            refusal = _refusal(what, error.response)
            if isinstance(refusal, StoreDenied):
                self._give_up(s3)
            raise refusal from error
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise StoreTimeout(f"S3 {what}: {type(error).__name__} after {self._timeout_s:g} s") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            self._give_up(s3)
            raise StoreDenied(f"S3 {what}: no credentials were found") from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnreachable(f"S3 {what}: {type(error).__name__}") from error


class _NoSuchObject(StoreError):
    """The bucket has no such key."""


def _refusal(what: str, answer: Mapping[str, Any]) -> StoreError:
    code = str(answer.get("Error", {}).get("Code", ""))[:64]
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"S3 {what}: {code} ({status})"
    if code == "NoSuchKey":
        return _NoSuchObject(said)
    if code in _FULL or status == 507:
        return StoreFull(said)
    if status in (401, 403) or code in _EXPIRED:
        return StoreDenied(said)
    if status == 429 or status >= 500:
        return StoreUnreachable(said)
    return StoreError(said)


def _decoded(head: str) -> bytes:
    """Empty where it is not what `put` wrote, which is no entry's head."""
    try:
        return base64.b64decode(head, validate=True)
    except binascii.Error:
        return b""

"""The settings of what is stored: the cache of generations, and the database (`records` in a deploy file)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from deployments.liveness.timings import TIMINGS
from deployments.paths import state_path
from serve_app.settings import StrictModel
from serve_app.settings.placement import FOLDER, Size, size_bytes

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"([A-Za-z0-9!_.*'()-]+/)*")
_DOTS = re.compile(r"(^|/)\.{1,2}/")
_KINDS = ("folder", "s3", "none")


class FolderSettings(StrictModel):
    """A folder: for one machine, or for several that share a file system."""

    kind: Literal["folder"] = "folder"
    """`folder`: cached entries are files in a folder."""
    folder: str = "./build/cache"
    """The folder, written `/…`, `~…`, `./…` or `../…` (relative to the state folder)."""
    max_size: Size = "2GB"
    """Disk space that the folder may use."""
    max_sound_size: Size = "1.5GB"
    """The part of `max_size` for finished sound; the rest is for codes, which are a hundred times smaller."""

    @property
    def path(self) -> Path:
        """The absolute path of the folder."""
        return state_path(self.folder)

    @property
    def max_size_bytes(self) -> int:
        return size_bytes(self.max_size)

    @property
    def max_sound_bytes(self) -> int:
        return size_bytes(self.max_sound_size)

    @field_validator("folder")
    @classmethod
    def _is_a_folder(cls, folder: str) -> str:
        if not FOLDER.match(folder):
            raise ValueError(f"{folder!r} is not written as a folder: ./{folder} or /{folder}")
        return folder

    @model_validator(mode="after")
    def _leaves_room_for_codes(self) -> FolderSettings:
        if self.max_sound_bytes >= self.max_size_bytes:
            raise ValueError(
                f"max_sound_size is a part of max_size, and {self.max_sound_size} leaves nothing of {self.max_size}"
            )
        return self


class S3Settings(StrictModel):
    """A bucket. boto3 finds the credentials (environment, profile, role); none is written here."""

    kind: Literal["s3"]
    """`s3`: cached entries are objects in a bucket."""
    bucket: str
    """The bucket's name; a lifecycle rule of the bucket has to delete old objects, since the cache does not."""
    prefix: str = "musicgen/"
    """Prefix of every object's name; empty, or ending in `/`."""
    endpoint_url: str | None = None
    """URL of an S3 server; null is AWS."""
    region: str | None = None
    """The bucket's region; null is the one that boto3 finds."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Whether the bucket's name goes into the path or the host name of URLs; `auto` leaves it to boto3."""
    sse: Literal["AES256", "aws:kms"] | None = None
    """Encryption at rest; null is the bucket's own."""
    sse_kms_key_id: str | None = None
    """The KMS key for `sse: aws:kms`; null is the account's default key."""
    tags: Mapping[str, str] = Field(default={}, max_length=10)
    """Tags of every object, for lifecycle rules."""
    connect_timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Seconds that connecting to the server may take."""
    max_attempts: int = Field(default=2, ge=1, le=10)
    """Attempts of one call, with a random wait between two."""

    @field_validator("bucket")
    @classmethod
    def _is_a_bucket(cls, bucket: str) -> str:
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"{bucket!r} is not a bucket's name (a-z, 0-9, '-', '.'; 3 to 63 characters)")
        return bucket

    @field_validator("prefix")
    @classmethod
    def _is_a_prefix(cls, prefix: str) -> str:
        if not _PREFIX.fullmatch(prefix) or _DOTS.search(prefix):
            raise ValueError(f"{prefix!r} is not a prefix like musicgen/ or team/music/: letters, digits and -_.!*'()")
        return prefix

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_bare_url(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://aws")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("endpoint_url is written https://host or http://host:port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("endpoint_url must hold no credentials: boto3 finds them in the environment or the role")
        return url

    @model_validator(mode="after")
    def _parts_agree(self) -> S3Settings:
        if self.sse_kms_key_id is not None and self.sse != "aws:kms":
            raise ValueError("sse_kms_key_id is for sse: aws:kms")
        return self


class NoStore(StrictModel):
    """Nothing is cached."""

    kind: Literal["none"]
    """`none`: nothing is cached."""


def _with_its_kind(value: Any) -> Any:
    """`none` → `{kind: none}`, `folder` likewise. Raises: ValueError for a missing or unknown kind."""
    if isinstance(value, str) and value in ("folder", "none"):
        return {"kind": value}
    kind = value.get("kind") if isinstance(value, dict) else value
    if isinstance(value, str) or (isinstance(value, dict) and kind not in _KINDS):
        raise ValueError(
            f"{kind!r} is no store; there are folder, none, {{kind: folder, folder: ./build/cache, max_size: 2GB}} and "
            "{kind: s3, bucket: …}"
        )
    return value


StoreSettings = Annotated[
    Annotated[FolderSettings | S3Settings | NoStore, Field(discriminator="kind")], BeforeValidator(_with_its_kind)
]


class CacheSettings(StrictModel):
    """What is cached of generations, where, and for how long."""

    store: StoreSettings = FolderSettings()
    """Where entries are stored: `folder`, `none`, or a mapping with `kind`."""
    codes_ttl_s: float | None = Field(default=86_400.0, gt=0)
    """Seconds for which codes, their sound, and the seed drawn for a request without one are reused; null is
    forever."""
    read_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds after which a request goes on without the store's answer."""
    write_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Seconds after which writing an entry is given up."""
    max_calls: int = Field(default=8, ge=1, le=64)
    """Calls of the store at once, each in a thread."""
    memory_size: Size | Literal[0] = "64MB"
    """Memory of each replica for the entries it used last; 0 is none."""

    @property
    def memory_bytes(self) -> int:
        """0 where no entries are held in memory."""
        return 0 if self.memory_size == 0 else size_bytes(self.memory_size)


_EXAMPLES = "sqlite:///./build/records.sqlite or postgresql+psycopg://user@host/database"
# No lease is granted for longer. One that seems to be is from another clock: before a boot, or a server's moved one.
MAX_LEASE_S = 300.0
# Attempts to renew a lease that may all time out before it expires.
_TRIES_PER_LEASE = 3


class DatabaseSettings(StrictModel):
    """The database of jobs, API keys, leases and the audit, which all replicas share."""

    url: SecretStr = SecretStr("sqlite:///./build/records.sqlite")
    """The database: for one machine SQLite, `sqlite:///` and a file written `/…`, `~…`, `./…` or `../…` (relative to
    the state folder); for several PostgreSQL, `postgresql+psycopg://user@host/database`, whose password may be in
    PGPASSWORD or a pgpass file."""
    lease_s: float = Field(default=TIMINGS.database_lease_s, ge=1, le=MAX_LEASE_S)
    """Seconds after which another process may take over what a dead one was generating."""
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Seconds that a call of the database may take; then a request goes on without a lease."""
    max_connections: int = Field(default=4, ge=1, le=64)
    """Connections of each process to the database, each with a thread."""

    @property
    def resolved_url(self) -> URL:
        """The URL, with its password, which is not shown; SQLite's file by its absolute path."""
        url = make_url(self.url.get_secret_value())
        if url.drivername != "sqlite":
            return url
        return url.set(database=str(state_path(url.database or "")))

    @field_validator("url")
    @classmethod
    def _is_one_of_two_databases(cls, secret: SecretStr) -> SecretStr:
        try:
            url = make_url(secret.get_secret_value())
        except (ArgumentError, ValueError):
            raise ValueError(f"that is not a database's URL like {_EXAMPLES}") from None
        if url.drivername == "sqlite":
            _check_sqlite(url)
        elif url.drivername == "postgresql+psycopg":
            _check_postgresql(url)
        else:
            raise ValueError(f"{url.drivername} is not supported; a URL is written {_EXAMPLES}")
        return secret

    @model_validator(mode="after")
    def _a_lease_outlasts_some_timeouts(self) -> DatabaseSettings:
        if _TRIES_PER_LEASE * self.timeout_s > self.lease_s:
            raise ValueError(
                f"timeout_s is {self.timeout_s:g} and lease_s {self.lease_s:g}: a lease must outlast "
                f"{_TRIES_PER_LEASE} time-outs; set lease_s: {_TRIES_PER_LEASE * self.timeout_s:g} or more"
            )
        return self


def _check_sqlite(url: URL) -> None:
    path = url.database or ""
    if url.host or url.username or url.password or url.query:
        raise ValueError("a SQLite URL is a path and nothing else: sqlite:///./build/records.sqlite")
    if path in ("", ":memory:"):
        raise ValueError("several processes share the database, so they need a file: sqlite:///./build/records.sqlite")
    if not FOLDER.match(path):
        raise ValueError(f"{path!r} is not written as a file: sqlite:///./{path} or sqlite:////{path}")
    if path.endswith("/"):
        raise ValueError(f"{path!r} is a folder; a file in it is written sqlite:///{path}records.sqlite")


def _check_postgresql(url: URL) -> None:
    if not url.database:
        raise ValueError("a PostgreSQL URL names its database: postgresql+psycopg://user@host/database")
    if any("password" in key for key in url.query):
        raise ValueError("a password is written before the host, as in postgresql+psycopg://user:…@host/database")

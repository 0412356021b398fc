"""What an operator may set of the cache.

What an operator may set of the records.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from deployments.checkpoints.sources import ROOT
from serve_app.settings.placement import FOLDER, Size, size_bytes
from serve_app.settings.strict import StrictModel

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"([A-Za-z0-9!_.*'()-]+/)*")
_DOTS = re.compile(r"(^|/)\.{1,2}/")
_KINDS = ("folder", "s3", "none")


class FolderSettings(StrictModel):
    """A folder: for one machine, or for several with a file system in common.

    folder: written `/…`, `~…`, `./…` or `../…` (from the project's root). max_size: that it takes of the disk.
    max_sound_size: of that, what finished sound takes; the rest is for codes, a hundred times smaller.
    """

    kind: Literal["folder"] = "folder"
    folder: str = "./build/cache"
    max_size: Size = "2GB"
    max_sound_size: Size = "1.5GB"

    @property
    def path(self) -> Path:
        """Where the folder is."""
        return (ROOT / Path(self.folder).expanduser()).resolve()

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
    """A bucket. Credentials are found as boto3 finds them (environment, profile, role); none is written here.

    prefix: of every object's name; empty, or ending in `/`. endpoint_url: if it is not AWS. sse: encryption at rest.
    sse_kms_key_id: with aws:kms; the account's own key if not said. tags: of every object, for rules that delete them:
    a bucket has no limit of its own. max_attempts: of one call, with a jittered wait between two.
    """

    kind: Literal["s3"]
    bucket: str
    prefix: str = "musicgen/"
    endpoint_url: str | None = None
    region: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    sse: Literal["AES256", "aws:kms"] | None = None
    sse_kms_key_id: str | None = None
    tags: Mapping[str, str] = Field(default={}, max_length=10)
    connect_timeout_s: float = Field(default=1.0, gt=0, le=60)
    max_attempts: int = Field(default=2, ge=1, le=10)

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
    """Nothing is kept."""

    kind: Literal["none"]


def _with_its_kind(value: Any) -> Any:
    """`none` → `{kind: none}`, `folder` likewise. Raises ValueError for no kind and for one that there isn't."""
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
    """What is kept of generations, where, and for how long.

    codes_ttl_s: how long codes, their sound, and the seed of a request without one are found again; null is for ever.
    read_timeout_s: after which a request is served without the store. write_timeout_s: after which an entry is given
    up. max_calls: of the store at once, each in a thread. memory_size: of what was used last, held by each replica.
    """

    store: StoreSettings = FolderSettings()
    codes_ttl_s: float | None = Field(default=86_400.0, gt=0)
    read_timeout_s: float = Field(default=2.0, gt=0, le=60)
    write_timeout_s: float = Field(default=10.0, gt=0, le=600)
    max_calls: int = Field(default=8, ge=1, le=64)
    memory_size: Size | Literal[0] = "64MB"

    @property
    def memory_bytes(self) -> int:
        """0 where nothing is held in memory."""
        return 0 if self.memory_size == 0 else size_bytes(self.memory_size)


_EXAMPLES = "sqlite:///./build/records.sqlite or postgresql+psycopg://user@host/database"
# No lease is granted for longer, so one that seems to be is from another clock: of a boot ago, or a server's moved one.
MAX_LEASE_S = 300.0
# Tries to renew a lease that may all run into their time-outs before it ends.
_TRIES_PER_LEASE = 3


class RecordsSettings(StrictModel):
    """Where records are kept, and for how long a lease holds.

    url: of the database. SQLite is for one machine; its file is written `sqlite:///` and then `/…`, `~…`, `./…` or
    `../…` (from the project's root). PostgreSQL is for several; its password may stay out of the URL, in PGPASSWORD or
    a pgpass file, where libpq finds it.
    lease_s: after which what a dead process was making may be made by another. timeout_s: of each call, after which a
    request goes on without a lease. max_connections: to the database, of each process; each has a thread.
    """

    # Else pydantic repeats in its errors what it was given, passwords too.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: SecretStr = SecretStr("sqlite:///./build/records.sqlite")
    lease_s: float = Field(default=15.0, ge=1, le=MAX_LEASE_S)
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    max_connections: int = Field(default=4, ge=1, le=64)

    @property
    def database(self) -> URL:
        """The URL, with its password, which is not shown; SQLite's file by its whole path."""
        url = make_url(self.url.get_secret_value())
        if url.drivername != "sqlite":
            return url
        return url.set(database=str((ROOT / Path(url.database or "").expanduser()).resolve()))

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
    def _a_lease_outlasts_some_time_outs(self) -> RecordsSettings:
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
        raise ValueError("records are shared by processes, so they need a file: sqlite:///./build/records.sqlite")
    if not FOLDER.match(path):
        raise ValueError(f"{path!r} is not written as a file: sqlite:///./{path} or sqlite:////{path}")
    if path.endswith("/"):
        raise ValueError(f"{path!r} is a folder; a file in it is written sqlite:///{path}records.sqlite")


def _check_postgresql(url: URL) -> None:
    if not url.database:
        raise ValueError("a PostgreSQL URL names its database: postgresql+psycopg://user@host/database")
    if any("password" in key for key in url.query):
        raise ValueError("a password is written before the host, as in postgresql+psycopg://user:…@host/database")

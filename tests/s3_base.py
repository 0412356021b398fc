"""What every S3 server for tests can do; who it serves."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import boto3
import botocore.config

USER = "svc"
ACCESS_KEY = "svc-access-key"
SECRET_KEY = "svc-secret-key-that-must-never-be-logged"
KMS_KEY = "test-key"

Keys = Mapping[str, str]


class Lender(abc.ABC):
    """Lends sessions of a role that may do all. url: of a gateway to the same store, which takes their keys."""

    url: str

    @abc.abstractmethod
    def lent_keys(self) -> Keys:
        """Of a session of a quarter of an hour."""

    @abc.abstractmethod
    def expired_keys(self, bucket: str) -> Keys:
        """Of a session that is over, as the gateway says."""


class S3Server(abc.ABC):
    """The running server. url: of it, without a final slash. folder: its own, for its files and logs."""

    url: str
    folder: Path

    def session(self, secret_key: str = SECRET_KEY) -> boto3.Session:
        """What a client signs with."""
        return boto3.Session(ACCESS_KEY, secret_key, region_name="us-east-1")

    def client(self) -> Any:
        """A plain client, to look at the server from outside."""
        config = botocore.config.Config(
            s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20, retries={"max_attempts": 1}
        )
        return self.session().client("s3", endpoint_url=self.url, config=config)

    def create_bucket(self, name: str) -> None:
        """Returns when it takes objects as fast as ever."""
        with contextlib.closing(self.client()) as client:
            client.create_bucket(Bucket=name)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The server takes connections, as the kernel does that for it, and answers nothing."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    @abc.abstractmethod
    def pause(self) -> None: ...

    @abc.abstractmethod
    def resume(self) -> None: ...

    @abc.abstractmethod
    def suspended_user(self) -> AbstractContextManager[None]:
        """The user has the key and may do nothing."""

    @abc.abstractmethod
    def removed_key(self) -> AbstractContextManager[None]:
        """The user's key is not known."""

    @abc.abstractmethod
    def full_user(self) -> AbstractContextManager[None]:
        """No room is left for what the user has: 4 kB, which are taken. Skips where there are no quotas."""

    @abc.abstractmethod
    def full_bucket(self, bucket: str) -> AbstractContextManager[None]:
        """It takes no further object. Skips where there are no quotas."""

    @abc.abstractmethod
    def lender(self) -> AbstractContextManager[Lender]:
        """While it is open."""


def session_keys(credentials: Mapping[str, str]) -> Keys:
    """As boto3.Session takes them, of an answer to AssumeRole."""
    return {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }

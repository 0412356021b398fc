"""Ceph's RADOS gateway over one daemon that keeps everything in memory. Debian has it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.ports import free_port, free_ports
from tests.programs import of_debian
from tests.s3_base import ACCESS_KEY, KMS_KEY, SECRET_KEY, USER, Keys, Lender, S3Server, session_keys

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
INSTALL = "apt-get install --no-install-recommends radosgw ceph-common ceph-mon ceph-osd"

# KMS_KEY's value encrypts nothing worth hiding.
_CONFIG = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
paxos propose interval = 0.05
paxos min wait = 0.01
osd class load list = *
osd class default list = *
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
run dir = {folder}
ms bind msgr2 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw dns name = localhost
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
rgw thread pool size = 32
"""


def is_installed() -> bool:
    return all(map(of_debian, PROGRAMS))


@dataclass
class Radosgw(S3Server):
    """The running server."""

    url: str
    folder: Path
    _config: Path
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def pause(self) -> None:
        self._processes["radosgw"].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._processes["radosgw"].send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def suspended_user(self) -> Iterator[None]:
        self._admin("user", "suspend", f"--uid={USER}")
        try:
            yield
        finally:
            self._admin("user", "enable", f"--uid={USER}")

    @contextlib.contextmanager
    def removed_key(self) -> Iterator[None]:
        key = (f"--uid={USER}", "--key-type=s3", f"--access-key={ACCESS_KEY}")
        self._admin("key", "rm", *key)
        try:
            yield
        finally:
            self._admin("key", "create", *key, f"--secret={SECRET_KEY}")

    @contextlib.contextmanager
    def full_user(self) -> Iterator[None]:
        with self._quota("--max-size=4096", "--quota-scope=user", f"--uid={USER}"):
            yield

    @contextlib.contextmanager
    def full_bucket(self, bucket: str) -> Iterator[None]:
        with self._quota("--max-objects=0", "--quota-scope=bucket", f"--bucket={bucket}"):
            yield

    @contextlib.contextmanager
    def lender(self) -> Iterator[Lender]:
        """A gateway that lends sessions of a second."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        # Each gateway's own: the store outlives them.
        role = f"keeper-{port}"
        user = {"AWS": [f"arn:aws:iam:::user/{USER}"]}
        may_lend = {"Effect": "Allow", "Principal": user, "Action": ["sts:AssumeRole"]}
        may_do_all = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
        self._admin("role", "create", f"--role-name={role}", f"--assume-role-policy-doc={_policy(may_lend)}")
        self._admin(
            "role-policy", "put", f"--role-name={role}", "--policy-name=all", f"--policy-doc={_policy(may_do_all)}"
        )
        options = {
            "rgw_frontends": f"beast endpoint=127.0.0.1:{port}",
            "rgw_s3_auth_use_sts": "true",
            "rgw_sts_key": "sixteen letters!",
            "rgw_sts_min_session_duration": "1",
        }
        command = ["radosgw", "-c", str(self._config), "-f", "-n", "client.lending"]
        command += [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "lending.out").open("wb") as out:
            gateway = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=out, stderr=out)
        try:
            while gateway.poll() is None:
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                    break
                time.sleep(0.1)
            yield _LendingGateway(url, self, f"arn:aws:iam:::role/{role}")
        finally:
            # In good order: for one that just vanishes, every change of a user would wait for half a minute.
            gateway.terminate()
            gateway.wait()

    @contextlib.contextmanager
    def _quota(self, limit: str, *scope: str) -> Iterator[None]:
        self._admin("quota", "set", *scope, limit)
        self._admin("quota", "enable", *scope)
        try:
            yield
        finally:
            self._admin("quota", "disable", *scope)

    def _admin(self, *words: str) -> Any:
        """What `radosgw-admin` answers, where it answers in JSON."""
        out = self._run("radosgw-admin", "-c", str(self._config), *words).stdout
        return json.loads(out) if out.strip().startswith((b"{", b"[")) else None

    def start(self) -> None:
        """Returns when the server answers. Raises: RuntimeError with the end of a log when it doesn't."""
        config = str(self._config)
        mon_address = self._config.read_text().split("mon host = ")[1].split("\n")[0]
        fsid = self._config.read_text().split("fsid = ")[1].split("\n")[0]
        mon_map = str(self.folder / "monmap")
        self._run("monmaptool", "--create", "--clobber", "--addv", "a", mon_address, "--fsid", fsid, mon_map)
        self._run("ceph-mon", "-c", config, "--mkfs", "-i", "a", "--monmap", mon_map)
        self._spawn("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        self._run("ceph", "-c", config, "--connect-timeout", "20", "osd", "new", osd)
        self._run("ceph-osd", "-c", config, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._run("ceph", "-c", config, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=local")
        self._spawn("ceph-osd", "-i", "0")
        self._spawn("radosgw", "-n", "client.rgw")
        self._await_answer()
        self._admin(
            "user", "create", f"--uid={USER}", f"--display-name={USER}", f"--access-key={ACCESS_KEY}",
            f"--secret-key={SECRET_KEY}",
        )  # fmt: skip

    def stop(self) -> None:
        """Ends the processes, each by its own id."""
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            # It may ask its monitor before the two have met ("wrong fsid"), and ends then.
            if self._processes["ceph-osd"].poll() is not None:
                self._spawn("ceph-osd", "-i", "0")
            if any(process.poll() is not None for process in self._processes.values()):
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5):
                return
            time.sleep(0.1)
        logs = [path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")]
        raise RuntimeError("the S3 server does not answer:\n" + "\n".join(logs))

    def _run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(command, env=self._environment(), capture_output=True, timeout=90, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:4])} … failed: {done.stderr.decode(errors='replace')[-2000:]}")
        return done

    def _spawn(self, program: str, *words: str) -> None:
        # Should the tests be killed, the kernel ends the server too.
        command = ["setpriv", "--pdeathsig", "KILL", program, "-c", str(self._config), "-f", *words]
        with (self.folder / f"{program}.out").open("wb") as out:
            self._processes[program] = subprocess.Popen(command, env=self._environment(), stdout=out, stderr=out)

    def _environment(self) -> dict[str, str]:
        # `ceph` is a script of the system's Python; PYTHONPATH and the like are meant for ours.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CEPH"))}
        return kept | {"CEPH_CONF": str(self._config)}


@dataclass
class _LendingGateway(Lender):
    url: str
    _server: Radosgw
    _role: str

    def lent_keys(self) -> Keys:
        return self._keys(900)

    def expired_keys(self, bucket: str) -> Keys:
        keys = self._keys(1)
        client = boto3.Session(**keys, region_name="us-east-1").client("s3", endpoint_url=self.url)
        with contextlib.closing(client), contextlib.suppress(client.exceptions.ClientError):
            while True:
                client.head_bucket(Bucket=bucket)
                time.sleep(0.1)
        return keys

    def _keys(self, duration_s: int) -> Keys:
        # Amazon lends for a quarter of an hour at least, and boto3 knows that.
        config = Config(parameter_validation=False)
        with contextlib.closing(self._server.session().client("sts", endpoint_url=self.url, config=config)) as sts:
            lent = sts.assume_role(RoleArn=self._role, RoleSessionName="test", DurationSeconds=duration_s)
        return session_keys(lent["Credentials"])


def _policy(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextlib.contextmanager
def radosgw(folder: Path) -> Iterator[Radosgw]:
    """A server of its own on free ports, its data in memory, its files in `folder`; ended on the way out."""
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    port, mon_port = free_ports(2)
    config = folder / "ceph.conf"
    config.write_text(_CONFIG.format(fsid=uuid.uuid4(), folder=folder, port=port, mon_port=mon_port, kms_key=KMS_KEY))
    server = Radosgw(f"http://127.0.0.1:{port}", folder, config)
    try:
        server.start()
        yield server
    finally:
        server.stop()

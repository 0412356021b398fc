"""A real S3 server for tests: Ceph's RADOS gateway over one daemon that keeps everything in memory.

It checks signatures, expiry and methods, and can be stopped, suspended and filled up. Debian has it:
`apt-get install --no-install-recommends radosgw ceph-common ceph-mon ceph-osd`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.config

PROGRAMS = ("setpriv", "ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
INSTALL = "apt-get install --no-install-recommends radosgw ceph-common ceph-mon ceph-osd"
USER = "svc"
ACCESS_KEY = "svc-access-key"
SECRET_KEY = "svc-secret-key-that-must-never-be-logged"

# The names of RGW's KMS test keys are public; they encrypt nothing worth hiding.
KMS_KEY = "test-key"

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


def missing_programs() -> list[str]:
    """What this machine lacks to run the server."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@dataclass
class S3Server:
    """The running server. url: of it, without a final slash. folder: its own, for its files and logs."""

    url: str
    folder: Path
    _config: Path
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def session(self, secret_key: str = SECRET_KEY) -> boto3.Session:
        """What a client signs with."""
        return boto3.Session(ACCESS_KEY, secret_key, region_name="us-east-1")

    def client(self) -> Any:
        """A plain client, to look at the server from outside."""
        config = botocore.config.Config(
            s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20, retries={"max_attempts": 1}
        )
        return self.session().client("s3", endpoint_url=self.url, config=config)

    def admin(self, *words: str) -> Any:
        """What `radosgw-admin` answers, where it answers in JSON."""
        out = self._run("radosgw-admin", "-c", str(self._config), *words).stdout
        return json.loads(out) if out.strip().startswith((b"{", b"[")) else None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The server takes connections, as the kernel does that for it, and answers nothing."""
        gateway = self._processes["radosgw"]
        gateway.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            gateway.send_signal(signal.SIGCONT)

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
        self.admin(
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


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server of its own on free ports, its data in memory, its files in `folder`; ended on the way out."""
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    port, mon_port = free_ports(2)
    config = folder / "ceph.conf"
    config.write_text(_CONFIG.format(fsid=uuid.uuid4(), folder=folder, port=port, mon_port=mon_port, kms_key=KMS_KEY))
    server = S3Server(f"http://127.0.0.1:{port}", folder, config)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]

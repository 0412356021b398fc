"""A service of its own processes: what can be known to be wrong beforehand, and the runner's side of its driver.

The runner starts the driver (`deployment.py`), reads its events until the service is ready, and notices if it ends.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx

from serve_app.proxy.flow_control import PROXY_ENVIRONMENT

if TYPE_CHECKING:
    from serve_app.launcher.deploy_file import DeployFile

# Ray listens on every interface, so its port must not be open to all: a token of this run alone, kept off the disk.
# Nor may another Ray be meant by an address in the environment, or anything be reported to anyone.
_RAY_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
_NOT_FOR_RAY = ("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_AUTH_TOKEN_PATH", "RAY_JOB_CONFIG_JSON_ENV_VAR")
_POLL_S = 0.25
# The last line of a traceback, and those after it that go on with the message: `module.Class: message`.
_RAISED = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*): (?P<message>\S.*(?:\n(?![ \t]+File |Traceback|[A-Za-z_][\w.]*: ).+)*)", re.M
)
_OURS = ("deployments.", "serve_app.", "etude.")


class PreflightError(Exception):
    """The deployment could not work on this machine, now; one sentence."""


def check(deploy_file: DeployFile, duration_ms: int) -> None:
    """Raises PreflightError if the file can't be deployed here, or its default model can't make such a clip.

    Folders are only looked for: reading them is the deployments' work, and takes torch.
    """
    _check_port(deploy_file.host, deploy_file.port)
    for application in deploy_file.applications:
        if application.settings is None:
            continue
        for name, model in application.settings.models.items():
            try:
                folder = model.folder
            except LookupError as error:
                raise PreflightError(f"the model {name} has no checkpoint: {error}") from error
            if folder is not None and not folder.is_dir():
                raise PreflightError(f"the model {name} has its checkpoint in {folder}, which is no folder")
    first = deploy_file.applications[0].settings
    if first is not None:
        name, limit_ms = first.default_model, first.models[first.default_model].max_duration_ms
        if duration_ms > limit_ms:
            raise PreflightError(
                f"DURATION is {duration_ms / 1000:g} s; the model {name} makes {limit_ms / 1000:g} s at most"
            )


def check_resources(deploy_file: DeployFile, num_cpus: float, num_gpus: float, memory_bytes: float) -> None:
    """Raises PreflightError if the replicas of the file set aside more than there is, and would wait for ever, or may
    take more memory for weights they keep in it.
    """
    settings = [each.settings for each in deploy_file.applications if each.settings is not None]
    for what, there, wanted in (
        ("GPUs", num_gpus, sum(each.total_gpus for each in settings)),
        ("cores", num_cpus, sum(each.total_cpus for each in settings)),
        ("GB of memory", memory_bytes / 1e9, sum(each.max_memory_bytes for each in settings) / 1e9),
    ):
        if wanted > there:
            raise PreflightError(
                f"{deploy_file.path} sets aside {wanted:.4g} {what} for its replicas; this machine has {there:.4g}"
            )


def _check_port(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the server will: a port whose connections are only waiting to time out is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PreflightError(
                    f"port {port} on {host} is in use; stop what uses it, or choose another: "
                    f"musicgen serve --port {port + 1}, or make run PORT={port + 1}"
                ) from error
            raise PreflightError(f"can't listen on {host}, port {port}: {error.strerror}") from error


@dataclass(frozen=True)
class DriverEvent:
    """doing: what the driver is at. note: what should be known of what it deploys. running: everything is deployed,
    detail is the URL.

    refused: why nothing was started; failed: why what was started came to nothing; one sentence each.
    """

    state: Literal["doing", "note", "running", "refused", "failed"]
    detail: str

    def to_line(self) -> str:
        """The event as a line, with its end."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> DriverEvent:
        """The event that `to_line` wrote."""
        return cls(**json.loads(line))


class LaunchError(Exception):
    """The service failed to start, or ended; one sentence."""


class RefusedError(LaunchError):
    """Nothing was started: the configuration isn't right, or doesn't fit this machine."""


class Service:
    """A deployed application in processes of its own. folder: of the run, short, for Ray's session and the logs."""

    def __init__(
        self, config: Path, port: int | None, duration_ms: int, folder: Path, environment: Mapping[str, str]
    ) -> None:
        """environment: added to this process's. The rest as the driver takes it."""
        self._folder = folder
        self._events: queue.Queue[DriverEvent | None] = queue.Queue()
        self.notes: list[str] = []
        command = [sys.executable, "-m", "serve_app.launcher.deployment", str(config)]
        command += ["--duration-ms", str(duration_ms), "--ray-folder", str(folder / "ray")]
        command += [] if port is None else ["--port", str(port)]
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_RAY}
        token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with self.driver_log.open("wb") as log:
            self._driver = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the runner's to answer
                env={**inherited, **_RAY_ENVIRONMENT, **PROXY_ENVIRONMENT, **token, **environment},
                text=True,
            )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def driver_log(self) -> Path:
        """What the driver and Ray had to say."""
        return self._folder / "driver.log"

    @property
    def logs(self) -> Path:
        """Ray's and the replicas' logs; exists once Ray has started."""
        return self._folder / "ray" / "session_latest" / "logs"

    def wait_until_ready(self, say: Callable[[str], None]) -> str:
        """The service's URL, once `/ready` says that every deployment is up. Raises LaunchError."""
        url = None
        while url is None:
            event = self._events.get()
            if event is None or event.state in ("refused", "failed"):
                raise self._failure(event)
            if event.state == "running":
                url = event.detail
            elif event.state == "note":
                self.notes.append(event.detail)
            else:
                say(event.detail)
        say("waiting for the service to answer")
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not _is_ready(client, url, say):
                self.check(_POLL_S)
        return url

    def check(self, wait_s: float | None = 0) -> None:
        """Raises LaunchError if the driver ended or ends within `wait_s` (None: for as long as it takes)."""
        try:
            event = self._events.get(timeout=wait_s) if wait_s != 0 else self._events.get_nowait()
        except queue.Empty:
            return
        raise self._failure(event)

    def close(self) -> None:
        """Waits for the driver's end, which is its guardian's to bring about, and lets go of what led to it."""
        self._driver.wait()
        self._reading.join()
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.close()
        self._driver.stdout.close()

    def _failure(self, event: DriverEvent | None) -> LaunchError:
        if event is not None:
            return RefusedError(event.detail) if event.state == "refused" else LaunchError(event.detail)
        log = self.driver_log.read_text(encoding="utf-8", errors="replace")
        why = root_cause(log) if "Traceback" in log else f"status {self._driver.poll()}"
        return LaunchError(f"the driver ended by itself: {why}")

    def _read(self) -> None:
        assert self._driver.stdout is not None
        try:
            for line in self._driver.stdout:
                self._events.put(DriverEvent.from_line(line))
        finally:
            self._events.put(None)


def _is_ready(client: httpx.Client, url: str, say: Callable[[str], None]) -> bool:
    try:
        answer = client.get(f"{url}/ready")
    except httpx.TransportError:
        return False  # the proxy opens its port a moment after Serve says so; the driver's end is noticed elsewhere
    if answer.status_code == 200:
        return True
    if answer.status_code != 503:
        raise LaunchError(f"{url}/ready answers {answer.status_code}")
    down = [name for name, up in answer.json().get("deployments", {}).items() if not up]
    say(f"waiting for {', '.join(down)}" if down else "waiting for the service to be ready")
    return False


def root_cause(report: str) -> str:
    """What was raised last in `report`, on one line.

    Serve wraps a replica's traceback in another, as text, so the last exception line is the first that was raised.
    The errors of this project are sentences for the operator and stand alone; others are led by their type.
    A report without a traceback is its own cause.
    """
    last = None
    for last in _RAISED.finditer(report):  # noqa: B007 - the last match is what the loop is for
        pass
    if "Traceback" not in report or last is None:
        return " ".join(report.split())
    message = " ".join(last["message"].split())
    return message if last["type"].startswith(_OURS) else f"{last['type']}: {message}"

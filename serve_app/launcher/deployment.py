"""The driver: checks a deploy file, starts a Ray of its own, deploys as `serve run` does, and says how it goes.

It writes events (see service.py) to the standard output it was started with; whatever Ray prints goes to the log. It
ends with the process that started it. The environment that keeps Ray to itself is set by service.py.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import TextIO

import psutil
import ray
from ray import serve
from ray.runtime_env import RuntimeEnv
from ray.serve._private.api import serve_start
from ray.serve.config import AutoscalingPolicy, gRPCOptions
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatus, ServeDeploySchema

from serve_app.launcher import service as preflight
from serve_app.launcher.deploy_file import DeployFile, DeployFileError, read_deploy_file
from serve_app.launcher.service import DriverEvent, root_cause

# Ray would take 30 % of the memory; 30 s of stereo sound are 8 MB.
OBJECT_STORE_BYTES = 256 * 2**20
POLL_S = 0.25
_SLOW = re.compile(r"Deployment '.*?' in application '.*?' has (\d+ replicas that have taken more than \d+s to .*?)\. ")


class DeployFailed(Exception):
    """Serve gave up on an application; the sentence says why."""


def load_deploy_file(path: Path) -> DeployFile:
    """The deploy file at `path`, every key of it known to Serve or to Settings. Raises DeployFileError."""
    runtime_env = {key for key in RuntimeEnv.known_fields if not key.startswith("_")}
    loose = {"runtime_env": runtime_env, "autoscaling_policy": set(AutoscalingPolicy.model_fields)}
    return read_deploy_file(path, ServeDeploySchema, loose)


def drive(path: Path, port: int | None, duration_ms: int, ray_folder: Path, report: TextIO) -> None:
    """Deploys the file and returns when it runs; raises the errors of every step."""

    def say(what: str) -> None:
        report.write(DriverEvent("doing", what).to_line())

    say(f"checking {path}")
    deploy_file = load_deploy_file(path)
    if port is not None:
        deploy_file = deploy_file.on_port(port)
    preflight.check(deploy_file, duration_ms)
    if any(each.settings is not None and each.settings.access.keys == "none" for each in deploy_file.applications):
        report.write(DriverEvent("note", "it asks for no API keys, so it serves this machine only").to_line())
    say("starting Ray on this machine")
    ray.init(
        address="local",
        namespace="serve",
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(ray_folder),
    )
    resources = ray.cluster_resources()
    memory_bytes = psutil.virtual_memory().total
    preflight.check_resources(deploy_file, resources.get("CPU", 0), resources.get("GPU", 0), memory_bytes)
    say("starting Serve")
    schema = ServeDeploySchema.model_validate(deploy_file.content)
    client = serve_start(
        http_options=schema.http_options.model_dump(),
        grpc_options=gRPCOptions(**schema.grpc_options.model_dump()),
        proxy_location=schema.proxy_location,
        controller_options=schema.controller_options,
    )
    client.deploy_apps(schema, _blocking=False)
    said = ""
    while True:
        overviews = serve.status().applications
        states = [overviews.get(each.name) for each in deploy_file.applications]
        if all(state is not None and state.status == ApplicationStatus.RUNNING for state in states):
            break
        saying = "; ".join(_progress(state) for state in states)
        if saying != said:
            say(saying)
            said = saying
        time.sleep(POLL_S)
    report.write(DriverEvent("running", deploy_file.url).to_line())


def _progress(state: ApplicationStatusOverview | None) -> str:
    """How far an application is. Raises DeployFailed if Serve has given it up."""
    if state is None or not state.deployments:
        if state is not None and state.status == ApplicationStatus.DEPLOY_FAILED:
            raise DeployFailed(root_cause(state.message))
        return "building the application"
    if state.status == ApplicationStatus.DEPLOY_FAILED:
        failed = {
            name: each for name, each in state.deployments.items() if each.status == DeploymentStatus.DEPLOY_FAILED
        }
        raise DeployFailed(
            "; ".join(f"{name}: {root_cause(each.message)}" for name, each in failed.items())
            or root_cause(state.message)
        )
    waiting = {name: each for name, each in state.deployments.items() if each.status != DeploymentStatus.HEALTHY}
    up = f"loading the models: {len(state.deployments) - len(waiting)} of {len(state.deployments)} up"
    notes = [f"{name} ({_note(each.message)})" if each.message else name for name, each in waiting.items()]
    return f"{up}, waiting for {', '.join(notes)}" if notes else up


def _note(message: str) -> str:
    """What Serve says of a deployment that is not up yet, without its advice for clusters."""
    note = root_cause(message)
    slow = _SLOW.match(note)
    return slow[1] if slow else note


def main(arguments: list[str]) -> int:
    """Drives; then waits for the end of the process that holds the other end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.launcher.deployment")
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--duration-ms", type=int, required=True)
    parser.add_argument("--ray-folder", type=Path, required=True)
    options = parser.parse_args(arguments)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8") as report:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            drive(options.file, options.port, options.duration_ms, options.ray_folder, report)
        except (DeployFileError, preflight.PreflightError) as error:
            report.write(DriverEvent("refused", str(error)).to_line())
            return 1
        except DeployFailed as error:
            report.write(DriverEvent("failed", str(error)).to_line())
            return 1
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

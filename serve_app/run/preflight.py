"""What can be known to be wrong before anything starts."""

from __future__ import annotations

import errno
import socket

from serve_app.run.deploy_file import DeployFile


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
            if model.folder is not None and not model.folder.is_dir():
                raise PreflightError(f"the model {name} has its checkpoint in {model.folder}, which is no folder")
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
                    f"port {port} on {host} is in use; stop what uses it, or choose another: make run PORT={port + 1}"
                ) from error
            raise PreflightError(f"can't listen on {host}, port {port}: {error.strerror}") from error

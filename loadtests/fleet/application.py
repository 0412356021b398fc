"""The deploy file of a fleet: the embedded model in two pools, placed as `serve_app/configs/aws.yaml` places others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtests.fleet.kinds import MARKET, ON_DEMAND, SPOT
from serve_app.launcher.deploy_file import IMPORT_PATH, POLICY

APPLICATION = "musicgen"
MODEL = "etude"
SLOTS = 4

CPU_NODES = {"nodes": [{"musicgen/group": "cpu"}], "num_cpus": 0.1}
_GPU_ON_DEMAND = {MARKET: ON_DEMAND, "musicgen/group": "gpu_realtime"}
# Nothing here waits for a machine to start: what takes a cloud minutes takes seconds.
_QUICK = {"upscale_delay_s": 1, "downscale_delay_s": 8, "downscale_to_zero_delay_s": 8}
REALTIME = {"num_cpus": 1, "nodes": [_GPU_ON_DEMAND], "autoscaling": {"min_replicas": 1, "max_replicas": 2, **_QUICK}}
BATCH = {
    "num_cpus": 1,
    "nodes": [{MARKET: SPOT}, _GPU_ON_DEMAND],
    "autoscaling": {"min_replicas": 0, "max_replicas": 2, "target_wait_s": 5, **_QUICK},
}


def write(
    path: Path,
    port: int,
    *,
    import_path: str = IMPORT_PATH,
    args: Mapping[str, Any] | None = None,
    deployments: Sequence[Mapping[str, Any]] = (),
    **pools: Any,
) -> None:
    """The file, for a service on this port of the head. deployments: what Serve is to change of some. pools: of the
    model, in the place of those above.
    """
    model = {
        "source": "./etude/checkpoint",
        "license": "CC0-1.0",
        "slots": SLOTS,
        "max_queued": 64,
        "deadline_floor_s": 300,
        "text_encoder": CPU_NODES,
        "codec_decoder": CPU_NODES,
        "language_model": REALTIME,
        "batch_language_model": BATCH,
        **pools,
    }
    folder = path.parent
    content = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port, "request_timeout_s": 660},
        "logging_config": {"encoding": "TEXT", "log_level": "INFO", "enable_access_log": False},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": import_path,
                "autoscaling_policy": {"policy_function": POLICY},
                "args": {
                    "default_model": MODEL,
                    "models": {MODEL: model},
                    # Of a node's two cores one: so it is one thread on a node with one replica and on one with two.
                    "cpu_util_target": 0.5,
                    "cache": {"store": {"kind": "folder", "folder": f"{folder}/cache"}},
                    "records": {"url": f"sqlite:///{folder}/records.sqlite"},
                    "jobs": {"max_running": 64, "reserved": 8},
                    "ingress": CPU_NODES,
                    "pipeline": {**CPU_NODES, "num_replicas": 2},
                    **(args or {}),
                },
                "deployments": [dict(each) for each in deployments],
            }
        ],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")

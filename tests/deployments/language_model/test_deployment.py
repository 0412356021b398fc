"""The deployment without Ray: what it writes to the log, and that it frees what it took."""

from __future__ import annotations

import asyncio
import logging
import math
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model import deployment as shim
from deployments.language_model.config import DecoderConfig
from deployments.language_model.deployment import LanguageModelDeployment
from deployments.language_model.errors import EngineMismatch
from deployments.language_model.offload import reserved_bytes
from deployments.language_model.offload_folder import OffloadFolder
from deployments.language_model.placement import CpuShare, Offloaded, OnCpu, Placement
from deployments.messages import CodeFrames, CodeRequest, EngineIdentity, Heartbeat, Sampling
from deployments.telemetry.log_event import BAR
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint", vocab=64, codec_width=8)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Lines on Serve's logger, which lets nothing through to the root's."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger, level = shim._log, shim._log.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def deploy(folder: Path, placement: Placement, num_slots: int = 2) -> LanguageModelDeployment:
    return LanguageModelDeployment(
        str(folder),
        None,
        dtype="float32",
        placement=placement,
        cpu_share=CpuShare(1.0, 0.3, (0.3,) * 1000),
        num_slots=num_slots,
        max_waiting=4,
        max_duration_ms=500,
    )


def test_one_line_says_where_the_model_is_and_what_it_takes(folder: Path, log: list[str]) -> None:
    deployment = deploy(folder, OnCpu())
    deployment._loop.close()
    (line,) = log
    assert re.fullmatch(
        rf"{folder} is ready after \d+\.\d s: on the CPU with 1 thread; float32 \w+ 1 threads; "
        r"a step reads 0\.\d MB of weights; keys and values of 2 slots take up to 1\.\d MB; "
        r"the process holds \d+(\.\d\d GB| MB)( and .* of its GPUs)?",
        line,
    )


def test_a_start_that_fails_lets_the_offloaded_weights_go(folder: Path, tmp_path: Path) -> None:
    too_many = 200
    config = DecoderConfig.from_transformers(Checkpoint.open(folder).config)
    memory = reserved_bytes(config, 28, too_many) + 3 * 10**5
    with pytest.raises(ValueError, match="200 slots need 400 rows"):
        deploy(folder, Offloaded(cpu_bytes=memory, folder=tmp_path), too_many)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    with closing(OffloadFolder.open(tmp_path, "other", 1, iter([]))) as other:
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == [other.path]


def code_request(name: str, identity: EngineIdentity | None = None) -> CodeRequest:
    return CodeRequest(name, np.ones((3, 32), np.float32), 5, 0, Sampling(), identity=identity)


def test_its_identity_is_the_checkpoints_and_the_engines(folder: Path) -> None:
    deployment = deploy(folder, OnCpu())
    identity = asyncio.run(deployment.identity())
    assert identity.fingerprint == Checkpoint.open(folder).fingerprint()
    assert identity.numerics == deployment._loop.numerics
    assert identity.numerics.startswith(f"{platform.machine()} torch {torch.__version__} float32")
    assert identity.vocab_size == 64
    deployment._loop.close()


def test_a_generation_of_another_engine_is_refused_with_the_one_this_is(folder: Path) -> None:
    deployment = deploy(folder, OnCpu())

    async def made(request: CodeRequest) -> list[CodeFrames | Heartbeat]:
        return [item async for item in deployment.generate(request)]

    async def scenario() -> None:
        own = await deployment.identity()
        for change in ({"fingerprint": "0" * 64}, {"numerics": "arm64"}, {"vocab_size": 65}):
            with pytest.raises(EngineMismatch) as refused:
                await made(code_request("other", replace(own, **change)))
            assert refused.value.identity == own
        for identity in (None, own):
            *_, last = await made(code_request("mine", identity))
            assert isinstance(last, CodeFrames)
            assert last.finished

    asyncio.run(scenario())
    deployment._loop.close()


def test_a_replica_whose_engine_breaks_says_why_and_ends_at_once(folder: Path, project_root: Path) -> None:
    command = [sys.executable, "-m", "tests.deployments.language_model.broken_replica", str(folder)]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "at work\n"
    _, line, cause = done.stderr.partition("CRITICAL the engine broke, and this replica ends with it\n")
    assert line
    assert all(each.startswith(BAR) for each in cause.splitlines())
    assert cause.endswith(f"{BAR}MemoryError: no more\n")


def test_outside_of_a_cluster_a_node_has_room_for_all() -> None:
    assert shim._node_cpus() == math.inf

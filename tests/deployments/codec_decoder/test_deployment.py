"""The deployment without Ray: whose window comes when."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.codec_decoder.codec import decode
from deployments.codec_decoder.deployment import CodecDecoderDeployment
from deployments.codec_decoder.windows import windows
from deployments.messages import CodeWindow
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> CodecDecoderDeployment:
    folder: Path = tiny_checkpoint(tmp_path_factory.mktemp("codec") / "tiny")
    return CodecDecoderDeployment(str(folder), None)


def random_codes(num_frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2048, (4, num_frames)).astype(np.int16)


async def decode_clip(deployment: CodecDecoderDeployment, codes: np.ndarray, order: list[str], name: str) -> np.ndarray:
    state, sounds = None, []
    for _, end in windows(codes.shape[1], 4):
        decoded = await deployment.decode(CodeWindow(codes[:, : end + 4], end, state))
        state = decoded.state
        order.append(name)
        sounds.append(decoded.pcm)
    return np.concatenate(sounds, axis=1)


def test_clips_take_turns_and_a_long_one_holds_up_no_other(deployment: CodecDecoderDeployment) -> None:
    async def scenario() -> None:
        long, short = random_codes(400, 1), random_codes(60, 2)
        order: list[str] = []
        tasks = [decode_clip(deployment, codes, order, name) for codes, name in ((long, "long"), (short, "short"))]
        sounds = await asyncio.gather(*tasks)
        num_short = len(list(windows(60, 4)))
        assert order[: 2 * num_short] == ["long", "short"] * num_short
        for sound, codes in zip(sounds, (long, short), strict=True):
            assert np.array_equal(sound, decode(deployment._codec, codes))

    asyncio.run(scenario())


def test_codes_that_are_none_are_refused_and_the_next_clip_is_decoded(deployment: CodecDecoderDeployment) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match=r"codes must be in \[0, 2047\]"):
            await deployment.decode(CodeWindow(np.full((4, 20), 2048, np.int16), 8))
        decoded = await deployment.decode(CodeWindow(random_codes(20, 0), 8))
        assert decoded.pcm.shape == (1, 8 * 640)

    asyncio.run(scenario())
    deployment.check_health()


def test_torch_has_one_thread_in_every_thread_of_the_process(tmp_path: Path) -> None:
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        CodecDecoderDeployment(str(tiny_checkpoint(tmp_path / "tiny")), None)
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert seen == [1]

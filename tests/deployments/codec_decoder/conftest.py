from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deployments.codec_decoder.codec import Codec
from tests.deployments.codec_decoder.random_codec import GEOMETRIES, random_codec


@pytest.fixture(scope="session")
def codec() -> Codec:
    return random_codec("musicgen")


@pytest.fixture(scope="session", params=list(GEOMETRIES))
def any_codec(request: pytest.FixtureRequest) -> Codec:
    return random_codec(request.param)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)

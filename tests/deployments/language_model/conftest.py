from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deployments.language_model.config import DecoderConfig
from deployments.language_model.decoder import Decoder
from tests.deployments.language_model.random_decoder import CONFIG, random_decoder


@pytest.fixture(scope="session")
def config() -> DecoderConfig:
    return CONFIG


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    """float32, in plain torch."""
    return random_decoder("float32")


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)

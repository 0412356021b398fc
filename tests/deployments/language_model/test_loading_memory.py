"""Loading takes the memory of the weights and of a layer on its way, in a process that does nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.measuring.random_checkpoint import write_checkpoint
from loadtests.measuring.shapes import DecoderShape

SHAPE = DecoderShape(width=768, layers=16, heads=12, ffn=3072)
LAYER_VALUES = 16 * SHAPE.width**2
WEIGHT_BYTES = 2 * LAYER_VALUES * SHAPE.layers  # in bfloat16, without embedding and heads: 302 MB


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    folder = tmp_path_factory.mktemp("loading")
    program = "tests.deployments.language_model.memory_of_loading"
    try:
        model = write_checkpoint(folder / "model", SHAPE)
        command = [sys.executable, "-m", program, str(model), str(folder / "offloaded")]
        root = Path(__file__).parents[3]
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        shutil.rmtree(folder)  # half a GB, which pytest would keep
    return dict(json.loads(done.stdout))


def test_all_weights_peak_under_1_2_times_their_size(taken: dict[str, dict[str, int]]) -> None:
    whole = taken["bfloat16"]
    assert whole["held_bytes"] > WEIGHT_BYTES
    assert whole["held_bytes"] < whole["peak_bytes"] < 1.2 * whole["held_bytes"]


def test_weights_of_which_a_third_stays_in_memory_never_take_twice_that(taken: dict[str, dict[str, int]]) -> None:
    whole_bytes = taken["bfloat16"]["held_bytes"]
    assert taken["offloaded"]["held_bytes"] < whole_bytes / 3
    assert taken["offloaded"]["peak_bytes"] < 2 * whole_bytes / 3


def test_layers_that_are_packed_are_let_go_one_by_one(taken: dict[str, dict[str, int]]) -> None:
    all_layers_bytes = 4 * LAYER_VALUES * SHAPE.layers
    assert taken["packed"]["peak_bytes"] < taken["packed"]["held_bytes"] + all_layers_bytes / 2

"""Placements: what an operator may write, and what is said to one who wrote something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deployments.language_model.placement import Offloaded, OnCpu, OnGpu, OnGpus, Placement
from deployments.paths import ROOT
from serve_app.settings import sentence
from serve_app.settings.model import ModelSettings
from serve_app.settings.placement import size_bytes

MODEL: dict[str, Any] = {"source": "./somewhere", "license": "CC0-1.0"}


def model(placement: str, **others: Any) -> ModelSettings:
    return ModelSettings.model_validate({**MODEL, **others, **yaml.safe_load(f"placement: {placement}")})


@pytest.mark.parametrize(
    ("written", "placement", "num_gpus"),
    [
        ("cpu", OnCpu(), 0),
        ("{kind: cpu}", OnCpu(), 0),
        ("gpu", OnGpu(), 1),
        ("{kind: gpu}", OnGpu(), 1),
        ("{kind: gpu, fraction: 0.25}", OnGpu(0.25), 0.25),
        ("{kind: gpu, fraction: 0.25, memory: 20GB}", OnGpu(0.25, 20 * 10**9), 0.25),
        ("{kind: gpus, count: 2}", OnGpus(2), 2),
        ("{kind: offloaded, max_memory: {cpu: 1.5 GiB}}", Offloaded(3 * 2**29), 0),
        (
            "{kind: offloaded, max_memory: {gpu: 6GB, cpu: 24GB}, folder: ./kept}",
            Offloaded(24 * 10**9, 6 * 10**9, ROOT / "kept"),
            1,
        ),
        (
            "{kind: offloaded, max_memory: {gpu: 6GB, cpu: 500MB}, fraction: 0.5, folder: /srv/kept}",
            Offloaded(5 * 10**8, 6 * 10**9, Path("/srv/kept")),
            0.5,
        ),
    ],
)
def test_what_is_written_is_where_it_runs(written: str, placement: Placement, num_gpus: float) -> None:
    settings = model(written)
    assert settings.placement.resolved() == placement
    assert settings.placement.num_gpus == num_gpus
    assert settings.total_gpus == num_gpus


def test_without_a_word_it_is_the_cpu() -> None:
    assert ModelSettings(**MODEL).placement.resolved() == OnCpu()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("cuda", "placement: 'cuda' is no placement; in a word it is cpu or gpu, and else {kind: gpu, fraction: 0.25}"),
        ("gpus", "'gpus' is no placement; in a word it is cpu or gpu"),
        ("{fraction: 0.5}", "placement: kind is missing; it is one of cpu, gpu, gpus, offloaded"),
        ("{kind: cuda}", "placement: kind is 'cuda'; it is one of cpu, gpu, gpus, offloaded"),
        ("{kind: [gpu]}", "placement: kind is ['gpu']; it is one of"),
        ("2", "placement: "),
        ("[gpu]", "placement: "),
        ("{kind: cpu, fraction: 0.5}", "placement.cpu: unknown key 'fraction'; Valid keys: kind"),
        ("{kind: gpu, fractoin: 0.5}", "placement.gpu: unknown key 'fractoin', did you mean 'fraction'?"),
        ("{kind: gpu, fraction: 0}", "placement.gpu.fraction: Input should be greater than 0"),
        ("{kind: gpu, fraction: 2}", "placement.gpu.fraction: Input should be less than or equal to 1"),
        ("{kind: gpu, fraction: .nan}", "placement.gpu.fraction: "),
        ("{kind: gpu, fraction: true}", "placement.gpu.fraction: Input should be a valid number"),
        ("{kind: gpu, memory: 20}", "placement.gpu.memory: Input should be a valid string"),
        (
            "{kind: gpu, memory: 20 gigs}",
            "placement.gpu.memory: '20 gigs' is not a size like 20GB, 1.5GB, 500MB or 6GiB",
        ),
        ("{kind: gpu, memory: 0GB}", "placement.gpu.memory: '0GB' is not a size"),
        ("{kind: gpus}", "placement.gpus.count: Field required"),
        ("{kind: gpus, count: 1}", "placement.gpus.count: 1 is not several; one GPU is written `placement: gpu`"),
        ("{kind: gpus, count: 1.5}", "placement.gpus.count: Input should be a valid integer"),
        ("{kind: offloaded}", "placement.offloaded.max_memory: Field required"),
        ("{kind: offloaded, max_memory: {gpu: 6GB}}", "placement.offloaded.max_memory.cpu: Field required"),
        (
            "{kind: offloaded, max_memory: {cpu: 6GB, disk: 9GB}}",
            "max_memory: unknown key 'disk'; Valid keys: cpu, gpu",
        ),
        ("{kind: offloaded, max_memory: {cpu: 6GB}, fraction: 0.5}", "fraction is of a GPU, and max_memory has none"),
        (
            "{kind: offloaded, max_memory: {cpu: 6GB}, folder: kept}",
            "'kept' is not written as a folder: ./kept or /kept",
        ),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(written: str, said: str) -> None:
    with pytest.raises(ValidationError) as failure:
        model(written)
    assert said in sentence(failure.value)


@pytest.mark.parametrize("written", ["{kind: gpus, count: 2}", "{kind: offloaded, max_memory: {cpu: 1GB}}"])
def test_8_bits_are_for_one_place(written: str) -> None:
    with pytest.raises(ValidationError, match="dtype int8 is for one CPU or one GPU, and the placement is "):
        model(written, dtype="int8")
    assert model("gpu", dtype="int8").dtype == "int8"


@pytest.mark.parametrize(
    ("size", "num_bytes"), [("20GB", 20 * 10**9), ("1.5 GB", 15 * 10**8), ("500MB", 5 * 10**8), ("6GiB", 6 * 2**30)]
)
def test_sizes_are_read_with_their_units(size: str, num_bytes: int) -> None:
    assert size_bytes(size) == num_bytes

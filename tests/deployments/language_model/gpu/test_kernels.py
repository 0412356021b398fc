"""Every Triton kernel against plain torch: on a GPU where there is one, else under Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu.matrix import Matrix, Norm
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.pages import PAGE
from deployments.language_model.gpu.reference import ReferenceOperations
from deployments.language_model.gpu.state import NOBODY, Plan, State
from deployments.messages import Sampling
from tests.deployments.language_model.random_decoder import CONFIG, random_weights

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NUM_SLOTS, MAX_POSITIONS, MAX_ROWS = 3, 5 * PAGE, 32


# The interpreter multiplies no bfloat16.
COMPUTES = [torch.float32, torch.bfloat16] if DEVICE == "cuda" else [torch.float32]


@pytest.fixture(scope="module", params=COMPUTES, ids=str)
def compute(request: pytest.FixtureRequest) -> torch.dtype:
    """What is multiplied, and kept as keys and values."""
    chosen: torch.dtype = request.param
    return chosen


@pytest.fixture(scope="module")
def triton_operations(compute: torch.dtype) -> Iterator[Operations]:
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            patch.setenv("TRITON_INTERPRET", "1")  # read when kernels are declared
        pytest.importorskip("triton", reason="triton comes with torch for GPUs, and interprets kernels on a CPU")
        from deployments.language_model.gpu.triton_operations import TritonOperations

        yield TritonOperations(CONFIG, compute, MAX_ROWS, MAX_POSITIONS, DEVICE)


@pytest.fixture
def reference(compute: torch.dtype) -> Operations:
    return ReferenceOperations(compute)


def assert_near(ours: Tensor, theirs: Tensor, compute: torch.dtype) -> None:
    """bfloat16: what is multiplied may round to the next number."""
    exact = compute == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-4 if exact else 2e-2, atol=1e-3 if exact else 2e-2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def full_state(compute: torch.dtype, config: DecoderConfig = CONFIG, seed: int = 0) -> State:
    """Three slots with pages in no order, full of numbers; the third has a text of two pages, the first of none."""
    state = State(config, NUM_SLOTS, MAX_POSITIONS, 60, compute, DEVICE)
    generator = torch.Generator().manual_seed(seed)
    state.cache.copy_(torch.randn(state.cache.shape, generator=generator))
    pages = torch.randperm(60, generator=generator)[: NUM_SLOTS * 3 * 5].view(NUM_SLOTS, 3, 5) + 1
    state.table[:NUM_SLOTS, :, :5] = pages.int().to(DEVICE)
    state.text_lengths[:NUM_SLOTS] = torch.tensor([0, 7, PAGE + 30], dtype=torch.int32, device=DEVICE)
    tokens = torch.randint(0, config.pad_token + 1, state.tokens.shape, generator=generator)
    state.tokens.copy_(tokens)
    return state


def plan_of(rows: list[tuple[int, int, int]], draws: list[tuple[int, int]] = ()) -> Plan:  # type: ignore[assignment]
    """rows: (slot, branch, position) each. draws: (row with text, row without)."""
    fields = torch.full((Plan.NUM_FIELDS, len(rows)), NOBODY, dtype=torch.int32)
    fields[:3] = torch.tensor(rows).T
    if draws:
        fields[3:, : len(draws)] = torch.tensor(draws).T
    return Plan.view(fields.to(DEVICE), len(rows))


ROWS = [(0, 0, 0), (1, 0, 63), (1, 1, 63), (2, 0, 128), (2, 1, 128), (0, 1, 127), (1, 0, 300), (3, 0, 0), (2, 0, 319)]


def test_embedding(compute: torch.dtype, triton_operations: Operations, reference: Operations) -> None:
    state, plan = full_state(compute), plan_of(ROWS)
    embedding = random(CONFIG.num_codebooks * (CONFIG.vocab_size + 1), CONFIG.width)
    positions = random(MAX_POSITIONS, CONFIG.width, seed=1)
    ours, theirs = (torch.full((len(ROWS), CONFIG.width), torch.nan, device=DEVICE) for _ in range(2))
    triton_operations.embed(plan, state, embedding, positions, ours)
    reference.embed(plan, state, embedding, positions, theirs)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("num_rows", [1, 2, 19])
@pytest.mark.parametrize("dtype", ["as it is", "int8"])
@pytest.mark.parametrize("activation", [None, "gelu", "relu"])
def test_a_product_after_a_norm(
    compute: torch.dtype,
    triton_operations: Operations,
    reference: Operations,
    num_rows: int,
    dtype: str,
    activation: str | None,
) -> None:
    x = random(num_rows, 128) * 3 + 50  # a large mean
    norm = Norm(random(128, seed=1), random(128, seed=2))
    matrix = Matrix.of(random(48, 128, seed=3).to(compute), dtype)
    ours, theirs = (torch.full((num_rows, 48), torch.nan, device=DEVICE) for _ in range(2))
    triton_operations.normed_product(x, norm, matrix, ours, activation)
    reference.normed_product(x, norm, matrix, theirs, activation)
    assert_near(ours, theirs, compute)


@pytest.mark.parametrize("dtype", ["as it is", "int8"])
def test_a_product_added_to_the_residual(
    compute: torch.dtype, triton_operations: Operations, reference: Operations, dtype: str
) -> None:
    x, matrix = random(5, 192).to(compute), Matrix.of(random(32, 192, seed=3).to(compute), dtype)
    ours = random(5, 32, seed=4)
    theirs = ours.clone()
    triton_operations.added_product(x, matrix, ours)
    reference.added_product(x, matrix, theirs)
    assert_near(ours, theirs, compute)


def test_queries_come_out_and_keys_and_values_go_to_their_pages(
    compute: torch.dtype, triton_operations: Operations, reference: Operations
) -> None:
    ours, theirs, plan, d = full_state(compute), full_state(compute), plan_of(ROWS), CONFIG.width
    x, norm = random(len(ROWS), d), Norm(random(d, seed=1), random(d, seed=2))
    matrix = Matrix.of(random(3 * d, d, seed=3).to(compute), "as it is")
    queries, expected = (torch.full((len(ROWS), d), torch.nan, dtype=compute, device=DEVICE) for _ in range(2))
    triton_operations.keys_and_values(x, norm, matrix, plan, ours, 1, queries)
    reference.keys_and_values(x, norm, matrix, plan, theirs, 1, expected)
    assert_near(queries, expected, compute)
    assert_near(ours.cache, theirs.cache, compute)


def test_attention_over_each_rows_own_positions(
    compute: torch.dtype, triton_operations: Operations, reference: Operations
) -> None:
    state, plan, queries = full_state(compute), plan_of(ROWS), random(len(ROWS), CONFIG.width, seed=5).to(compute)
    for _ in range(2):  # the counters are as before
        ours, theirs = (torch.full_like(queries, torch.nan) for _ in range(2))
        triton_operations.attend(queries, plan, state, 0, 3 * 128, ours)
        reference.attend(queries, plan, state, 0, 3 * 128, theirs)
        assert_near(ours, theirs, compute)


def test_attention_over_the_text_of_the_branch_that_has_it(
    compute: torch.dtype, triton_operations: Operations, reference: Operations
) -> None:
    state, plan, queries = full_state(compute), plan_of(ROWS), random(len(ROWS), CONFIG.width, seed=5).to(compute)
    ours, theirs = (torch.full_like(queries, torch.nan) for _ in range(2))
    triton_operations.attend_text(queries, plan, state, 0, ours)
    reference.attend_text(queries, plan, state, 0, theirs)
    assert_near(ours, theirs, compute)


SAMPLINGS = [
    Sampling(),
    Sampling(guidance_scale=1.0, top_k=0),
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_k=1),
    Sampling(top_k=10, top_p=0.9),
    Sampling(top_k=0, top_p=0.5, guidance_scale=5.0),
    Sampling(top_k=0, top_p=0.999, guidance_scale=0.0),
    Sampling(top_k=0, top_p=1e-9),
]


@pytest.mark.parametrize("ties", [False, True])
def test_draws_are_the_samplers(triton_operations: Operations, reference: Operations, ties: bool) -> None:
    from deployments.language_model.gpu.stepper import GpuStepper
    from deployments.language_model.gpu.triton_operations import TritonOperations

    config = replace(CONFIG, num_codebooks=2)
    operations = TritonOperations(config, torch.float32, MAX_ROWS, MAX_POSITIONS, DEVICE)
    for i, sampling in enumerate(SAMPLINGS):
        ours, theirs = full_state(torch.float32, config), full_state(torch.float32, config)
        plan = plan_of([(1, 0, 2), (1, 1, 2), (2, 0, 77)], [(0, 1), (2, 2)])
        logits = random(3, config.num_codebooks * config.vocab_size, seed=i) * 3
        if ties and not sampling.top_p:  # which of equals are dropped is left open
            logits = logits.round()
        generation = SimpleNamespace(sampling=sampling, seed=2**63 + i)
        results = []
        for run, state in ((operations, ours), (reference, theirs)):
            for slot in (1, 2):
                stepper = SimpleNamespace(_state=state, _config=config)
                GpuStepper._set_sampling(stepper, slot, generation)  # type: ignore[arg-type]
            state.tokens[1, 3, :1] = NOBODY
            guided = torch.zeros(3, config.num_codebooks, config.vocab_size, device=DEVICE)
            drawn = torch.full((3, config.num_codebooks), NOBODY, dtype=torch.int32, device=DEVICE)
            run.draw(logits, plan, state, guided, drawn)
            results.append((guided, drawn))
        torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
        np.testing.assert_array_equal(results[0][1].cpu(), results[1][1].cpu(), str(sampling))
        assert torch.equal(ours.tokens, theirs.tokens)


def test_a_decoder_of_these_kernels_makes_the_codes_of_plain_torch(triton_operations: Operations) -> None:
    from deployments.language_model.engine.engine import Engine
    from deployments.language_model.gpu.decoder import GpuDecoder
    from deployments.language_model.gpu.triton_operations import TritonOperations
    from tests.deployments.language_model.random_decoder import request, run

    config = replace(CONFIG, vocab_size=64, width=64, ffn_width=64, num_layers=1)
    weights = random_weights(config, "float32", device=DEVICE)
    prompt = np.arange(8).reshape(4, 2).astype(np.int16)
    requests = [request("a", num_frames=3, prompt_codes=prompt), request("b", num_frames=1, sampling=SAMPLINGS[1])]
    made = []
    for operations in (TritonOperations(config, torch.float32, 4, 64, DEVICE), ReferenceOperations(torch.float32)):
        decoder = GpuDecoder(config, weights, "float32", 64, max_rows=4, operations=operations)
        made.append(run(Engine(decoder, num_slots=2, max_frames=32), *requests))
    assert made[0].keys() == {"a", "b"}
    for name, codes in made[0].items():
        np.testing.assert_array_equal(codes, made[1][name])

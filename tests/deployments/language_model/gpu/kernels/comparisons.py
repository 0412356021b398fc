"""Each operation by the kernels and by plain torch. Each raises AssertionError where they differ."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from deployments.language_model.gpu.matrix import Matrix, Norm
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.state import NOBODY, State
from deployments.language_model.gpu.stepper import GpuStepper
from deployments.messages import Sampling
from tests.deployments.language_model.gpu.kernels.cases import (
    DEVICE,
    EMPTY,
    MAX_POSITIONS,
    OCCUPIED,
    ROWS,
    Pair,
    full_state,
    plan_of,
    random,
    unwritten,
)

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


def compare_embeddings(pair: Pair) -> None:
    config, plan, state = pair.config, plan_of(ROWS), full_state(pair.config, pair.compute)
    embedding = random(config.num_codebooks * (config.vocab_size + 1), config.width)
    positions = random(MAX_POSITIONS, config.width, seed=1)

    def run(operations: Operations) -> Tensor:
        x = unwritten(len(ROWS), config.width)
        operations.embed(plan, state, embedding, positions, x)
        return x

    ours, theirs = pair.run_both(run)
    assert torch.equal(ours, theirs)


def compare_normed_products(pair: Pair, num_rows: int, num_inputs: int, dtype: str, activation: str | None) -> None:
    """The rows have a large mean, which costs a careless norm its digits."""
    x = random(num_rows, num_inputs) * 3 + 50
    norm = Norm(random(num_inputs, seed=1), random(num_inputs, seed=2))
    matrix = Matrix.of(random(48, num_inputs, seed=3).to(pair.compute) / num_inputs**0.5, dtype)

    def run(operations: Operations) -> Tensor:
        out = unwritten(num_rows, 48)
        operations.normed_product(x, norm, matrix, out, activation)
        return out

    pair.assert_near(*pair.run_both(run))


def compare_added_products(pair: Pair, num_rows: int, num_inputs: int, dtype: str) -> None:
    x = random(num_rows, num_inputs).to(pair.compute)
    matrix = Matrix.of(random(32, num_inputs, seed=3).to(pair.compute) / num_inputs**0.5, dtype)

    def run(operations: Operations) -> Tensor:
        residual = random(num_rows, 32, seed=4)
        operations.added_product(x, matrix, residual)
        return residual

    pair.assert_near(*pair.run_both(run))


def compare_keys_and_values(pair: Pair, dtype: str) -> None:
    """With one empty row: what several write to the spare page is left open."""
    d, rows = pair.config.width, [*(ROWS[row] for row in OCCUPIED), EMPTY]
    x, norm = random(len(rows), d), Norm(random(d, seed=1), random(d, seed=2))
    matrix = Matrix.of(random(3 * d, d, seed=3).to(pair.compute) / d**0.5, dtype)
    states = []

    def run(operations: Operations) -> Tensor:
        states.append(full_state(pair.config, pair.compute))
        queries = unwritten(len(rows), d, dtype=pair.compute)
        operations.keys_and_values(x, norm, matrix, plan_of(rows), states[-1], 1, queries)
        return queries

    pair.assert_near(*pair.run_both(run))
    pair.assert_near(states[0].cache, states[1].cache)


def compare_attention(pair: Pair, num_positions: int = 512) -> None:
    """Twice, with other queries: nothing that one step leaves behind may reach the next one."""
    state, rows = full_state(pair.config, pair.compute), [row for row in ROWS if row[2] < num_positions]
    for seed in range(2):
        queries = random(len(rows), pair.config.width, seed=seed).to(pair.compute) * 3
        ours, theirs = (torch.full_like(queries, torch.nan) for _ in range(2))
        pair.kernels.attend(queries, plan_of(rows), state, 0, num_positions, ours)
        pair.reference.attend(queries, plan_of(rows), state, 0, num_positions, theirs)
        pair.assert_near(ours, theirs)


def compare_attention_to_text(pair: Pair) -> None:
    state = full_state(pair.config, pair.compute)
    queries = random(len(ROWS), pair.config.width, seed=5).to(pair.compute) * 3

    def run(operations: Operations) -> Tensor:
        attended = torch.full_like(queries, torch.nan)
        operations.attend_text(queries, plan_of(ROWS), state, 0, attended)
        return attended

    pair.assert_near(*pair.run_both(run))


def set_sampling(state: State, pair: Pair, slot: int, sampling: Sampling, seed: int) -> None:
    stepper = SimpleNamespace(_state=state, _config=pair.config)
    GpuStepper._set_sampling(stepper, slot, SimpleNamespace(sampling=sampling, seed=seed))  # type: ignore[arg-type]


def compare_draws(pair: Pair, sampling: Sampling, *, seed: int = 0, ties: bool = False) -> None:
    """One draw with guidance, where some tokens are known; one without, at the first position; and none."""
    config, plan = pair.config, plan_of([(1, 0, 2), (1, 1, 2), (2, 0, 0)], [(0, 1), (2, 2)])
    logits = random(3, config.num_codebooks * config.vocab_size, seed=seed) * 3
    logits = logits.round() if ties else logits  # 0 and -0 among them
    states, guided = [], []

    def run(operations: Operations) -> Tensor:
        state = full_state(config, pair.compute)
        for slot in (1, 2):
            set_sampling(state, pair, slot, sampling, 2**63 + seed)
        state.tokens[1, 3, 0], state.tokens[1, 3, 1:] = NOBODY, 0
        state.tokens[2, 1] = NOBODY
        states.append(state)
        guided.append(torch.full((3, config.num_codebooks, config.vocab_size), 7.0, device=DEVICE))
        drawn = torch.full((3, config.num_codebooks), NOBODY, dtype=torch.int32, device=DEVICE)
        operations.draw(logits, plan, state, guided[-1], drawn)
        return drawn

    ours, theirs = pair.run_both(run)
    assert torch.equal(*guided), sampling
    assert torch.equal(ours, theirs), sampling
    assert torch.equal(states[0].tokens, states[1].tokens), sampling


def compare_all_draws(pair: Pair) -> None:
    for i, sampling in enumerate(SAMPLINGS):
        compare_draws(pair, sampling, seed=i)
        if not sampling.top_p:  # which of equals are dropped is left open
            compare_draws(pair, sampling, seed=i, ties=True)

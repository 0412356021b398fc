"""Launches the engine's steps on a device and collects their tokens one step later.

The host knows in advance what each position of a generation is and when it ends, so a step is launched before the
tokens of the one before it have arrived: those stay on the device, where the next step reads them. Everything is done
in the order of one stream, so that a slot given away is cleared after the steps it was part of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.request import EngineRequest
from deployments.language_model.engine.sampler import Draw, SamplingBatch
from deployments.language_model.engine.step import Step
from deployments.language_model.gpu.matrix import Matrices
from deployments.language_model.gpu.program import Program
from deployments.language_model.gpu.state import NOBODY, PAGE, SPARE, TEXT, Pages, State, pages_of, upload


@dataclass(frozen=True)
class _Exchange:
    """Host memory that one step is told from and answers to, until its event has come to pass.

    plan: int32 [Plan.NUM_FIELDS, rows]; drawn: int32 [rows, K].
    """

    plan: Tensor
    drawn: Tensor
    done: torch.cuda.Event | None

    def wait(self) -> None:
        if self.done:
            self.done.synchronize()


class GpuStepper:
    """page_bytes: of one of `pages`. keep_logits: draws come with theirs."""

    steps_ahead = 1

    def __init__(
        self,
        config: DecoderConfig,
        matrices: Matrices,
        program: Program,
        state: State,
        pages: Pages,
        page_bytes: int,
        *,
        keep_logits: bool,
    ) -> None:
        self.memory_bytes = pages.num_pages * page_bytes
        self._config = config
        self._matrices = matrices
        self._program = program
        self._state = state
        self._pages = pages
        self._keep_logits = keep_logits
        on_gpu = program.plan.is_cuda
        # One for the step under way and one for that which is being launched.
        self._exchanges = [
            _Exchange(
                torch.zeros(program.plan.shape, dtype=torch.int32, pin_memory=on_gpu),
                torch.zeros(program.drawn.shape, dtype=torch.int32, pin_memory=on_gpu),
                torch.cuda.Event() if on_gpu else None,  # type: ignore[no-untyped-call]
            )
            for _ in range(self.steps_ahead + 1)
        ]

    def admit(self, slot: int, generation: EngineRequest) -> None:
        state, num_tokens, branches = self._state, len(generation.text_states), generation.num_branches
        pages = self._pages.take(slot, pages_of(generation.num_steps, branches, num_tokens))
        table = np.full(state.table.shape[1:], SPARE, np.int32)
        each = -(-generation.num_steps // PAGE)
        for branch in range(branches):
            table[branch, :each] = pages[branch * each : (branch + 1) * each]
        text_pages = pages[branches * each :]
        table[TEXT, : len(text_pages)] = text_pages
        upload(state.table[slot], table)
        upload(state.tokens[slot, : len(generation.tokens)], generation.tokens.astype(np.int32))
        self._set_sampling(slot, generation)
        self._read_text(slot, generation.text_states, np.array(text_pages))

    def release(self, slot: int) -> None:
        self._pages.give_back(slot)

    def launch(self, step: Step) -> Callable[[], Draw] | None:
        program, num_draws = self._program, len(step.drawing)
        num_rows = next(size for size in program.row_buckets if size >= len(step.slots))
        longest = int(step.positions.max()) + 1
        num_positions = next(size for size in program.position_buckets if size >= longest)
        exchange = self._exchanges[0]
        self._exchanges.append(self._exchanges.pop(0))
        exchange.wait()
        self._fill(exchange.plan.numpy(), step)
        program.plan.copy_(exchange.plan, non_blocking=True)
        program.run(num_rows, num_positions)
        exchange.drawn[:num_rows].copy_(program.drawn[:num_rows], non_blocking=True)
        if exchange.done:
            exchange.done.record()
        if not num_draws:
            return None
        guided = program.guided[: num_draws if self._keep_logits else 0].clone()

        def draws() -> Draw:
            exchange.wait()
            return Draw(exchange.drawn[:num_draws].numpy().astype(np.int64), guided)

        return draws

    def check_integrity(self, slots: set[int]) -> None:
        self._pages.check_integrity(slots)

    def _fill(self, plan: np.ndarray, step: Step) -> None:
        """plan: int32 [Plan.NUM_FIELDS, rows]."""
        num_rows, num_draws = len(step.slots), len(step.drawing)
        plan[0, :num_rows], plan[0, num_rows:] = step.slots, len(self._state.text_lengths) - 1
        plan[1, :num_rows], plan[1, num_rows:] = step.branches, 0
        plan[2, :num_rows], plan[2, num_rows:] = step.positions, 0
        plan[3, :num_draws], plan[4, :num_draws] = step.with_text, step.without_text
        plan[3:, num_draws:] = NOBODY

    def _set_sampling(self, slot: int, generation: EngineRequest) -> None:
        state = self._state
        batch = SamplingBatch.of([generation.sampling], [generation.seed], self._config.vocab_size)
        state.guidance[slot] = float(batch.guidance_scale[0])
        state.temperature[slot] = float(batch.temperature[0])
        state.tail[slot] = float(1 - batch.top_p[0])
        state.greedy[slot] = int(batch.greedy[0])
        state.top_k[slot] = int(batch.top_k[0])
        state.seeds[slot] = int(batch.seeds.view(np.int64)[0])

    def _read_text(self, slot: int, text_states: np.ndarray, pages: np.ndarray) -> None:
        """text_states [S, D_text]: their keys and values of all layers go to the pages; computed alone."""
        config, state, matrices, num_tokens = self._config, self._state, self._matrices, len(text_states)
        kind, device = matrices.text_kv.dtype, state.cache.device
        states = torch.empty(text_states.shape, device=device)
        upload(states, text_states)
        if matrices.text_projection:
            weight, bias = matrices.text_projection
            states = (states.to(weight.dtype) @ weight.T).float() + bias
        keys_values = (states.to(kind) @ matrices.text_kv).view(
            num_tokens, config.num_layers, 2, config.num_heads, config.head_width
        )
        tokens = np.arange(num_tokens)
        where = torch.empty(2, num_tokens, dtype=torch.int64, device=device)
        upload(where, np.stack([pages[tokens // PAGE], tokens % PAGE]))
        state.cache[:, where[0], :, :, where[1]] = keys_values.to(state.cache.dtype)
        state.text_lengths[slot] = num_tokens

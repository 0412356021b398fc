"""The engine: in-flight batching of generations, one synchronous step at a time.

Requests of different prompt, length, sampling and seed share every step; one joins when a slot is free and leaves
when done, failed or aborted. A generation's codes depend on nothing but its request: not on neighbours, slot, or on
being resumed from its own codes (for one build, instruction set, thread count and numeric type).
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.decoder import Decoder
from deployments.language_model.generation import Generation
from deployments.language_model.rows import MAX_TEXT_TOKENS, Place, Rows
from deployments.language_model.sampler import SamplingBatch
from deployments.language_model.scheduler import Scheduler, Turn
from deployments.messages import CodeFrames, CodeRequest

LogitsObserver = Callable[[str, int, Tensor], None]


class Engine:
    """Not thread-safe: one thread adds, aborts and steps (see `engine_loop`).

    max_frames: the longest generation, prompt codes included. on_logits: called with (request id, step, guided
    logits [K, V]) for every column sampled; for tests and measurements.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        num_slots: int = 8,
        max_waiting: int = 64,
        max_frames: int = 1500,
        on_logits: LogitsObserver | None = None,
    ) -> None:
        if 2 * num_slots > decoder.max_rows:
            raise ValueError(f"{num_slots} slots need {2 * num_slots} rows a step, and {decoder.max_rows} is the most")
        self.decoder = decoder
        self.config = decoder.config
        self.max_frames = max_frames
        self.cache = decoder.new_cache(num_slots)
        self.scheduler = Scheduler(num_slots, max_waiting)
        self._text_states: dict[str, np.ndarray] = {}
        self._on_logits = on_logits

    @property
    def numerics(self) -> str:
        """What a generation's bits depend on: replicas that differ here never resume each other's."""
        return f"{platform.machine()} torch {torch.__version__} {self.decoder.numerics}"

    @property
    def idle(self) -> bool:
        return not self.scheduler.running and not self.scheduler.waiting

    def add(self, request: CodeRequest) -> None:
        """Raises: ValueError for a request that can't be made here; EngineFull when too many wait."""
        self._check(request)
        self.scheduler.add(Generation(request, self.config.delays, self.config.pad_token))
        self._text_states[request.request_id] = request.text_states

    def abort(self, request_id: str) -> None:
        """The slot is free when this returns. An unknown id, done already, is no error."""
        slot = self.scheduler.release(request_id)
        self._text_states.pop(request_id, None)
        if slot is not None:
            self.cache.clear_text(slot)

    def close(self) -> None:
        """Ends the decoder's threads."""
        self.decoder.close()

    @torch.inference_mode()
    def step(self) -> list[CodeFrames]:
        """Admit, compute one step for all, and give the frames that became whole."""
        for slot, generation in self.scheduler.admit():
            self.decoder.read_text(self.cache, slot, torch.tensor(self._text_states[generation.request_id]))
        turns = self.scheduler.plan(self.decoder.max_rows)
        if not turns:
            return []
        rows = self._rows(turns)
        hidden = self.decoder.hidden(rows, self.cache)
        last_places = [rows.places[end - 1] for end in np.cumsum([turn.num_positions for turn in turns])]
        sampled = [
            (t.generation, p) for t, p in zip(turns, last_places, strict=True) if t.generation.advance(t.num_positions)
        ]
        return self._sample(sampled, hidden) if sampled else []

    def check_integrity(self) -> None:
        """Raises: AssertionError when a slot, a request or its text is lost, shared or left behind."""
        self.scheduler.check_integrity()
        held = {slot for slot in range(self.scheduler.num_slots) if self.cache.holds_text(slot)}
        assert held <= set(self.scheduler.running), f"slots {held - set(self.scheduler.running)} keep a text for nobody"
        everyone = {g.request_id for g in (*self.scheduler.running.values(), *self.scheduler.waiting)}
        assert set(self._text_states) == everyone, "text states of nobody are kept"

    def _check(self, request: CodeRequest) -> None:
        states, codes = request.text_states, request.prompt_codes
        if states.ndim != 2 or states.shape[0] == 0 or states.shape[1] != self.config.text_width:
            raise ValueError(f"text states have shape {states.shape}, not [S, {self.config.text_width}] with S > 0")
        if len(states) > MAX_TEXT_TOKENS:
            raise ValueError(f"the prompt has {len(states)} tokens, and {MAX_TEXT_TOKENS} is the most")
        if not 0 < request.num_frames <= self.max_frames:
            raise ValueError(f"{request.num_frames} frames are asked for; this engine makes 1 to {self.max_frames}")
        if codes is None:
            return
        if codes.ndim != 2 or codes.shape[0] != self.config.num_codebooks:
            raise ValueError(f"prompt codes have shape {codes.shape}, not [{self.config.num_codebooks}, N]")
        if codes.shape[1] >= request.num_frames:
            raise ValueError(f"{codes.shape[1]} frames are given already and {request.num_frames} asked for in all")
        if codes.size and not (codes.min() >= 0 and codes.max() < self.config.vocab_size):
            raise ValueError(f"prompt codes are outside 0 to {self.config.vocab_size - 1}")

    def _rows(self, turns: list[Turn]) -> Rows:
        tokens: list[np.ndarray] = []
        index: list[tuple[int, int, int]] = []  # slot, branch, position
        places: list[Place] = []
        for turn in turns:
            generation, branches = turn.generation, turn.generation.num_branches
            tokens.append(np.repeat(generation.inputs(turn.num_positions), branches, axis=0))
            for position in range(generation.position, generation.position + turn.num_positions):
                places.append(Place(turn.slot, position, len(index), branches))
                index += [(turn.slot, branch, position) for branch in range(branches)]
        slots, branches_, positions = np.ascontiguousarray(np.array(index).T)
        return Rows(np.concatenate(tokens), slots, branches_, positions, places)

    def _sample(self, sampled: list[tuple[Generation, Place]], hidden: Tensor) -> list[CodeFrames]:
        generations = [generation for generation, _ in sampled]
        with_text = [place.row for _, place in sampled]
        without_text = [place.row + place.num_branches - 1 for _, place in sampled]
        logits = self.decoder.logits(hidden[with_text + without_text])
        vocab_size = self.config.vocab_size
        batch = SamplingBatch.of([g.sampling for g in generations], [g.seed for g in generations], vocab_size)
        frames = np.array([g.frames_of_column() for g in generations])
        draw = self.decoder.draw(logits[: len(sampled)], logits[len(sampled) :], batch, frames)
        made = []
        for generation, own_logits, own_tokens in zip(generations, draw.guided, draw.tokens, strict=True):
            if self._on_logits:
                self._on_logits(generation.request_id, generation.num_known_columns, own_logits)
            new = generation.accept(own_tokens)
            if new:
                made.append(new)
            if generation.finished:
                self.abort(generation.request_id)
        return made

"""The engine: in-flight batching of requests, one step at a time.

Requests of different prompt, length, sampling and seed share every step; one joins when a slot is free and leaves
when done, failed or aborted. A request's codes depend on the request alone: not on neighbours, slot, or on being
resumed from its own codes (for one build, instruction set, thread count and numeric type).
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from deployments.language_model.decoder import Decoder, new_stepper, ran_out_of_memory
from deployments.language_model.engine.request import EngineRequest, num_steps
from deployments.language_model.engine.sampler import Draw
from deployments.language_model.engine.scheduler import Scheduler
from deployments.language_model.engine.step import MAX_TEXT_TOKENS, Step
from deployments.language_model.errors import OutOfMemory
from deployments.messages import CodeFrames, CodeRequest

LogitsObserver = Callable[[str, int, Tensor], None]
Drawing = tuple[tuple[int, EngineRequest], ...]  # requests that get a token in a step, with their slots


class Engine:
    """Not thread-safe: one thread adds, aborts and steps (see `EngineLoop`).

    Args:
        max_frames: of a request, prompt codes included.
        memory_bytes: for the keys and values of all that run; None: as many as the decoder has.
        on_logits: called with (request id, step, guided logits [K, V]) for every column sampled; for tests and
            measurements.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        num_slots: int = 8,
        max_waiting: int = 64,
        max_frames: int = 1500,
        memory_bytes: int | None = None,
        on_logits: LogitsObserver | None = None,
    ) -> None:
        if 2 * num_slots > decoder.max_rows:
            raise ValueError(f"{num_slots} slots need {2 * num_slots} rows a step, and {decoder.max_rows} is the most")
        self.decoder = decoder
        self.config = decoder.config
        self.max_frames = max_frames
        self._stepper = new_stepper(decoder, num_slots, memory_bytes, keep_logits=on_logits is not None)
        self.scheduler = Scheduler(num_slots, max_waiting, self._stepper.memory_bytes)
        self._step: Step | None = None  # the last one, while nobody has joined or left since
        self._in_flight: deque[tuple[Drawing, Callable[[], Draw] | None]] = deque()
        self._on_logits = on_logits

    @property
    def numerics(self) -> str:
        """What a request's bits depend on: replicas that differ here never resume each other's requests."""
        return f"{platform.machine()} torch {torch.__version__} {self.decoder.numerics}"

    @property
    def idle(self) -> bool:
        return not self.scheduler.running and not self.scheduler.waiting

    def add(self, request: CodeRequest) -> None:
        """Queues a request.

        Raises:
            ValueError: For a request that can't be made here.
            EngineFull: When too many wait.
        """
        self._check(request)
        size_bytes = self._bytes_of(request, request.num_frames)
        if not self._fits(size_bytes):
            raise ValueError(self._too_large(request, size_bytes))
        self.scheduler.add(EngineRequest(request, self.config.delays, self.config.pad_token, size_bytes))

    def abort(self, request_id: str) -> None:
        """The slot is free when this returns. An unknown id, done already, is no error."""
        slot = self.scheduler.release(request_id)
        if slot is not None:
            self._step = None
            self._stepper.release(slot)

    def close(self) -> None:
        """Ends the decoder's threads."""
        self.decoder.close()

    def admit(self) -> list[tuple[str, OutOfMemory | None]]:
        """Gives slots to those that wait. Their ids, and the error of each that found no memory and is gone again."""
        admitted: list[tuple[str, OutOfMemory | None]] = []
        for slot, request in self.scheduler.admit():
            self._step = None
            try:
                with torch.inference_mode():
                    self._stepper.admit(slot, request)
            except Exception as error:
                if not ran_out_of_memory(error):
                    raise
                self.abort(request.request_id)
                admitted.append((request.request_id, _out_of_memory(request, error)))
            else:
                admitted.append((request.request_id, None))
        return admitted

    @torch.inference_mode()
    def step(self) -> list[CodeFrames]:
        """Admits those that wait, starts one step for all, and returns the frames that are now complete.

        Where tokens stay on a device their frames come with the step after theirs, which is under way by then.

        Raises:
            OutOfMemory: From an admission; the others are as they were, and another step can be made. Whatever else is
                raised, memory that ran out in the middle of a step too, leaves an engine that can't go on.
        """
        for _, error in self.admit():
            if error:
                raise error
        step = self._next_step()
        if step:
            draws = self._stepper.launch(step)
            step.advance()
            self._in_flight.append((step.drawing, draws))
        made: list[CodeFrames] = []
        while len(self._in_flight) > (self._stepper.steps_ahead if step else 0):
            made += self._accept(*self._in_flight.popleft())
        return made

    def check_integrity(self) -> None:
        """Checks slots, requests and their memory.

        Raises:
            AssertionError: When a slot, a request or its memory is lost, shared or left behind.
        """
        self.scheduler.check_integrity()
        self._stepper.check_integrity(set(self.scheduler.running))
        assert len(self._in_flight) <= self._stepper.steps_ahead, f"{len(self._in_flight)} steps are under way"

    def _next_step(self) -> Step | None:
        if self._step is None or not self._step.become_next():
            scheduled = self.scheduler.schedule(self.decoder.max_rows)
            self._step = Step(scheduled, self.config.vocab_size) if scheduled else None
        return self._step

    def _accept(self, drawing: Drawing, draws: Callable[[], Draw] | None) -> list[CodeFrames]:
        if draws is None:
            return []
        draw, made = draws(), []
        for i, (slot, request) in enumerate(drawing):
            if self.scheduler.running.get(slot) is not request:  # aborted while the step was under way
                continue
            if self._on_logits:
                self._on_logits(request.request_id, request.num_known_columns, draw.guided[i])
            new = request.accept(draw.tokens[i])
            if new:
                made.append(new)
            if request.finished:
                self.abort(request.request_id)
        return made

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

    def _bytes_of(self, request: CodeRequest, num_frames: int) -> int:
        num_branches = 1 if request.sampling.guidance_scale == 1 else 2
        return self.decoder.bytes_of(num_steps(num_frames, self.config.delays), num_branches, len(request.text_states))

    def _fits(self, size_bytes: int) -> bool:
        return self.scheduler.memory_bytes is None or size_bytes <= self.scheduler.memory_bytes

    def _too_large(self, request: CodeRequest, size_bytes: int) -> str:
        lengths = range(request.num_frames, 0, -1)
        most = next((length for length in lengths if self._fits(self._bytes_of(request, length))), 0)
        return (
            f"{request.num_frames} frames of this prompt need {size_bytes} bytes of memory, and "
            f"{self.scheduler.memory_bytes} is all there is: {most} frames would fit"
        )


def _out_of_memory(request: EngineRequest, error: Exception) -> OutOfMemory:
    """The error's words alone: the error itself would keep alive what its stack frames hold."""
    words = " ".join(str(error).split()) or type(error).__name__
    return OutOfMemory(
        f"there was no memory to begin a generation that takes {request.size_bytes} bytes while it runs: {words}"
    )

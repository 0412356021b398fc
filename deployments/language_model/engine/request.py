"""A request in the engine, and the delay pattern of its codes. Plain Python and numpy.

The delay pattern (MusicGen, Copet et al. 2023, arXiv:2306.05284, section 2.2): codebook k lags `delays[k]` steps. The
column of tokens made at step s holds, for codebook k, frame s - delays[k]. Step s reads column s - 1 (all pads for
s = 0). N frames take N + max(delays) steps, and frame t is complete once column t + max(delays) is.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from deployments.messages import CodeFrames, CodeRequest, Sampling

UNKNOWN = -1


def delays_of(num_codebooks: int, channels: int) -> tuple[int, ...]:
    """Mono: 0, 1, 2, 3. Stereo, in the order 1L 1R 2L 2R …: 0, 0, 1, 1, 2, 2, 3, 3."""
    return tuple(k // channels for k in range(num_codebooks))


def num_steps(num_frames: int, delays: tuple[int, ...]) -> int:
    return num_frames + max(delays)


def apply_delay(codes: np.ndarray, delays: tuple[int, ...], steps: int, pad_token: int) -> np.ndarray:
    """Codes [K, N] → columns int64 [K, steps]: pads before a codebook's first frame, UNKNOWN after its last."""
    num_frames = codes.shape[1]
    columns = np.full((len(delays), steps), UNKNOWN, dtype=np.int64)
    for k, lag in enumerate(delays):
        columns[k, :lag] = pad_token
        columns[k, lag : lag + num_frames] = codes[k]
    return columns


def undo_delay(columns: np.ndarray, delays: tuple[int, ...], first_frame: int, end_frame: int) -> np.ndarray:
    """Columns [K, steps] → codes int16 [K, end_frame - first_frame]."""
    codebooks, lags = _columns_of(delays)
    codes: np.ndarray = columns[codebooks, lags + np.arange(first_frame, end_frame)].astype(np.int16)
    return codes


@cache
def _columns_of(delays: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """[K, 1] each: the number of every codebook, and its lag."""
    return np.arange(len(delays))[:, None], np.array(delays)[:, None]


class EngineRequest:
    """One request's progress: what its positions read, how far they have been read, and which tokens have arrived.

    Position p reads column p - 1 and its logits are those of column p. A request ends by its length alone, so its
    positions can be read (`advance`) before the tokens drawn there are known here (`accept`). The tokens sampled for
    frames past the last one are read like all others and then discarded: the first N frames never depend on how many
    more are requested.

    Args:
        size_bytes: of memory it takes while it runs.

    Attributes:
        tokens: int64 [steps + 1, K], what each position reads, pads first; UNKNOWN where it has not arrived yet.
    """

    def __init__(self, request: CodeRequest, delays: tuple[int, ...], pad_token: int, size_bytes: int = 0) -> None:
        codes = request.prompt_codes
        if codes is None:
            codes = np.zeros((len(delays), 0), dtype=np.int16)
        self.request_id = request.request_id
        self.priority = request.priority
        self.text_states = request.text_states
        self.sampling: Sampling = request.sampling
        self.seed = request.seed
        self.delays = delays
        self._max_delay: int = max(delays)
        self.size_bytes = size_bytes
        self.num_steps: int = num_steps(request.num_frames, delays)
        self.tokens = np.full((self.num_steps + 1, len(delays)), pad_token, dtype=np.int64)
        self.tokens[1:] = apply_delay(codes, delays, self.num_steps, pad_token).T
        self.num_known_columns: int = codes.shape[1]
        self._num_begun_columns = self.num_known_columns + self._max_delay  # the columns after these hold nothing yet
        self.num_drawn_columns: int = self.num_known_columns
        self.num_emitted_frames: int = self.num_known_columns
        self.position = 0
        # Guidance needs a row without the text beside the one with it.
        self.num_branches = 1 if self.sampling.guidance_scale == 1 else 2

    @property
    def num_readable(self) -> int:
        """Positions that can be read now: one while decoding, many at its beginning, none once all have been read."""
        return min(self.num_drawn_columns + 1, self.num_steps) - self.position

    @property
    def num_frames_left(self) -> int:
        """Frames it has still to give."""
        return self.num_steps - self._max_delay - self.num_emitted_frames

    @property
    def finished(self) -> bool:
        return self.num_known_columns == self.num_steps

    def draws_after(self, num_positions: int) -> bool:
        """Whether the last of the next positions gives a column that is not drawn yet."""
        return self.position + num_positions > self.num_drawn_columns

    def advance(self, num_positions: int) -> None:
        """The next positions are being read, and the column after them drawn if it is not drawn yet."""
        self.position += num_positions
        self.num_drawn_columns = max(self.num_drawn_columns, self.position)

    def accept(self, tokens: np.ndarray) -> CodeFrames | None:
        """tokens [K] of the next column; what was known beforehand stays. Returns the frames that are now complete."""
        self.num_known_columns += 1
        column = self.tokens[self.num_known_columns]
        if self.num_known_columns > self._num_begun_columns:
            column[:] = tokens
        else:
            np.copyto(column, tokens, where=column == UNKNOWN)
        first, end = self.num_emitted_frames, self.num_known_columns - self._max_delay
        if end <= first:
            return None
        self.num_emitted_frames = end
        codes = undo_delay(self.tokens[1:].T, self.delays, first, end)
        return CodeFrames(self.request_id, first, codes, self.finished)

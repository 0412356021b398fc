"""One generation's progress through the delay pattern. Plain Python and numpy."""

from __future__ import annotations

import numpy as np

from deployments.language_model.delay import UNKNOWN, delayed, num_steps, undelayed
from deployments.messages import CodeFrames, CodeRequest, Sampling


class Generation:
    """What is known of a request's columns, and which position is read next.

    Position p reads column p - 1 and its logits are those of column p. The tokens sampled for frames past the last
    one are read like all others and then discarded: the first N frames never depend on how many more are asked for.
    """

    def __init__(self, request: CodeRequest, delays: tuple[int, ...], pad_token: int) -> None:
        codes = request.prompt_codes
        if codes is None:
            codes = np.zeros((len(delays), 0), dtype=np.int16)
        self.request_id = request.request_id
        self.sampling: Sampling = request.sampling
        self.seed = request.seed
        self.num_frames = request.num_frames
        self.delays = delays
        self.pad_token = pad_token
        self.columns = delayed(codes, delays, num_steps(request.num_frames, delays), pad_token)
        self.num_known_columns: int = codes.shape[1]
        self.num_emitted_frames = self.num_known_columns
        self.position = 0

    @property
    def num_branches(self) -> int:
        """Rows a position takes: guidance needs one without the text beside the one with it."""
        return 1 if self.sampling.guidance_scale == 1 else 2

    @property
    def num_readable(self) -> int:
        """Positions that can be read now: one while decoding, many after a resume."""
        return self.num_known_columns - self.position + 1

    @property
    def finished(self) -> bool:
        return self.num_known_columns == num_steps(self.num_frames, self.delays)

    def inputs(self, num_positions: int) -> np.ndarray:
        """Tokens int64 [num_positions, K] read at the next positions."""
        first = self.position - 1
        if first >= 0:
            columns: np.ndarray = self.columns[:, first : first + num_positions].T
            return columns
        start = np.full((1, len(self.delays)), self.pad_token, dtype=np.int64)
        return np.concatenate([start, self.columns[:, : num_positions - 1].T])

    def advance(self, num_positions: int) -> bool:
        """The next positions have been read. True when a token must now be sampled for each codebook."""
        self.position += num_positions
        return self.position == self.num_known_columns + 1

    def frames_of_column(self) -> list[int]:
        """The frame that the column to be sampled holds, for each codebook (negative: not yet)."""
        return [self.num_known_columns - lag for lag in self.delays]

    def accept(self, tokens: np.ndarray) -> CodeFrames | None:
        """tokens [K] for the column just computed; what was known beforehand stays. Gives newly whole frames."""
        column = self.columns[:, self.num_known_columns]
        np.copyto(column, tokens, where=column == UNKNOWN)
        self.num_known_columns += 1
        first, end = self.num_emitted_frames, self.num_known_columns - max(self.delays)
        if end <= first:
            return None
        self.num_emitted_frames = end
        codes = undelayed(self.columns, self.delays, first, end)
        return CodeFrames(self.request_id, first, codes, self.finished)

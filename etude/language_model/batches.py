"""What a training step sees: a function of the data, the seed and the step's number.

A clip's columns follow the delay pattern (`deployments.language_model.engine.request`): column s holds, for codebook
k, frame s - delays[k] of the window, and the model foresees column s from those before it, the first from pads alone.

What is read in the last columns, where the first codebooks are through with the window, is one of two things: our
engine goes on with them, so that a clip's beginning never depends on its length, and transformers' `generate` feeds
pads. Half of the windows have it one way and half the other; of a piece that ends with its window only the second can
be shown, so pieces should be longer than windows, by the longest delay at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.request import num_steps
from etude.language_model.code_shards import CodeClip
from etude.language_model.roll import NUM_ROWS

# Of a text; T5 was trained on as many, and a description has rarely a tenth of it.
_MAX_TOKENS = 512

# The label of what is not to be foreseen, torch's and transformers' own.
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """labels: int64 [B, K, S], columns to be foreseen, IGNORED where there is nothing. text, text_mask: int64 [B, N],
    tokens and 1 for each that is no padding. unheard: bool [B], clips whose text is not shown. missed: bool [B, S],
    columns that are not read. roll: float32 [B, rows, S], what scores say of the first codebook's frames, NaN where
    nothing is known.
    """

    labels: Tensor
    text: Tensor
    text_mask: Tensor
    unheard: Tensor
    missed: Tensor
    roll: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(each.to(device) for each in vars(self).values()))


class Batches:
    """clips: to draw from, with the codebooks of `config`. num_frames: of a window. openings: how often a window begins
    where its clip does. forgetting: how often a window is read with gaps.

    Raises ValueError for clips of other codebooks, or none.
    """

    def __init__(
        self,
        clips: Sequence[CodeClip],
        tokenizer: PreTrainedTokenizerBase,
        config: DecoderConfig,
        *,
        num_frames: int,
        text_dropout: float = 0.0,
        openings: float = 0.0,
        forgetting: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not clips:
            raise ValueError("there are no clips to learn from")
        wrong = {len(clip.codes) for clip in clips} - {config.num_codebooks}
        if wrong:
            raise ValueError(f"the model has {config.num_codebooks} codebooks, and there are clips with {min(wrong)}")
        self._clips = clips
        lengths = np.array([clip.codes.shape[1] for clip in clips], dtype=np.float64)
        self._shares = lengths / lengths.sum()
        self._tokenizer = tokenizer
        self._config = config
        self.num_frames = num_frames
        self._num_columns = num_steps(num_frames, config.delays)
        self._text_dropout = text_dropout
        self._openings = openings
        self._forgetting = forgetting
        self._seed = seed

    def of_frames(self, num_frames: int, *, filled: bool = False) -> Batches:
        """The same clips in other windows. filled: only those as long as a window, where there are any."""
        long = [clip for clip in self._clips if clip.codes.shape[1] >= num_frames] if filled else []
        return Batches(
            long or self._clips,
            self._tokenizer,
            self._config,
            num_frames=num_frames,
            text_dropout=self._text_dropout,
            openings=self._openings,
            forgetting=self._forgetting,
            seed=self._seed,
        )

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self._clips)

    def batch(self, step: int, size: int, process: int = 0) -> Batch:
        """Random windows of random clips, long ones more often, each with one of its texts or none; others for every
        step and process.
        """
        draw = np.random.default_rng([self._seed, process, step])
        clips = [self._clips[i] for i in draw.choice(len(self._clips), size=size, p=self._shares)]
        stops = draw.random(size) < 0.5
        places = [max(1, clip.codes.shape[1] - self._num_columns + 1) for clip in clips]
        starts = [int(start) for start in draw.integers(places)]
        texts = [clip.texts[draw.integers(len(clip.texts))] for clip in clips]
        unheard = draw.random(size) < self._text_dropout
        if self._openings:
            opens = draw.random(size) < self._openings
            starts = [0 if first else start for first, start in zip(opens, starts, strict=True)]
        missed = np.zeros((size, self._num_columns), dtype=bool)
        if self._forgetting:
            forgets = draw.random(size) < self._forgetting
            # All of every second one, and of the others any share.
            shares = np.where(draw.random(size) < 0.5, 1.0, draw.random(size)) * forgets
            missed = draw.random(missed.shape) < shares[:, None]
        return self._batch(clips, starts, stops, texts, unheard, missed)

    def beginnings(self, first: int, size: int, *, texts_of: int = 0) -> Batch:
        """The beginnings of `size` clips from number `first` on, fewer at the end, each with its first text.

        texts_of: how many clips further on the text is taken from, in a circle.
        """
        last = min(first + size, len(self._clips))
        clips = self._clips[first:last]
        texts = [self._clips[(i + texts_of) % len(self._clips)].texts[0] for i in range(first, last)]
        nowhere = np.zeros(len(clips), dtype=bool)
        missed = np.zeros((len(clips), self._num_columns), dtype=bool)
        return self._batch(clips, [0] * len(clips), nowhere, texts, nowhere, missed)

    def _batch(
        self,
        clips: Sequence[CodeClip],
        starts: Sequence[int],
        stops: NDArray[np.bool_],
        texts: Sequence[str],
        unheard: NDArray[np.bool_],
        missed: NDArray[np.bool_],
    ) -> Batch:
        windows = zip(clips, starts, stops, strict=True)
        labels = np.stack([self._columns(clip.codes, start, bool(stop)) for clip, start, stop in windows])
        # Columns that none of the clips has any code in, where all of them are short.
        rolls = np.stack([self._roll(clip, start) for clip, start in zip(clips, starts, strict=True)])
        filled = np.flatnonzero((labels != IGNORED).any(axis=(0, 1)))[-1] + 1
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        )
        return Batch(
            torch.from_numpy(labels[:, :, :filled]),
            tokens.input_ids,
            tokens.attention_mask,
            torch.from_numpy(unheard),
            torch.from_numpy(missed[:, :filled]),
            torch.from_numpy(rolls[:, :, :filled]),
        )

    def _roll(self, clip: CodeClip, start: int) -> NDArray[np.float32]:
        """[NUM_ROWS, columns] from frame `start` on."""
        rows = np.full((NUM_ROWS, self._num_columns), np.nan, dtype=np.float32)
        if clip.roll is not None:
            known = clip.roll[:, start : start + self._num_columns]
            rows[:, : known.shape[1]] = known
        return rows

    def _columns(self, codes: NDArray[np.int16], start: int, stops: bool) -> NDArray[np.int64]:
        """The columns of the window from frame `start` on: [K, num_frames + the longest delay].

        stops: leave out the frames after the window, as if the piece ended there.
        """
        columns = np.full((len(codes), self._num_columns), IGNORED, dtype=np.int64)
        for row, lag, own in zip(columns, self._config.delays, codes, strict=True):
            seen = own[start : start + (self.num_frames if stops else self._num_columns - lag)]
            row[lag : lag + len(seen)] = seen
        return columns


def inputs_of(labels: Tensor, pad_token: int) -> Tensor:
    """What is read to foresee each column: the columns one later, pads first and where there is no code. [B, K, S]."""
    shifted = torch.full_like(labels, pad_token)
    shifted[..., 1:] = labels[..., :-1]
    return shifted.masked_fill(shifted == IGNORED, pad_token)

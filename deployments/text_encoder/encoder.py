"""Prompts to text states: T5's encoder on the CPU, each prompt's states the same whatever it is batched with.

A prompt is padded to the next multiple of `LENGTH_GRID` tokens, the padding masked, and runs together only with
prompts of that padded length: so its own length alone decides the shapes its attention is computed in, and the linear
layers see a multiple of 16 rows, where float32 kernels agree. Measured with MKL and oneDNN on AVX-512, one and two
threads, widths 32 to 768: the same bits alone and in batches of 2 to 20. (Unpadded prompts of 3, 5 and 8 tokens change
with every batch.) On kernels that agree nowhere it would be close, not exact; the tests would show it.

The states of recent prompts are cached (`RecentStates`).
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from deployments.checkpoints.checkpoint import Checkpoint, check_tensors
from deployments.checkpoints.config import CheckpointError

LENGTH_GRID = 16
MAX_TOKENS = 2048


class TextEncoder:
    """T5's encoder and its tokenizer. Not thread-safe.

    Args:
        max_tokens: a longer prompt is cut to its first tokens and the end token, this many together. T5's positions
            have no end, so transformers and audiocraft cut nothing; but attention's memory grows with the square of the
            length, and a character can become many tokens. The default leaves 2,000 characters of a token each whole.
    """

    def __init__(
        self, model: T5EncoderModel, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int = MAX_TOKENS
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self.width: int = model.config.d_model
        """D of the states."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, max_tokens: int = MAX_TOKENS) -> TextEncoder:
        """The text encoder of a MusicGen checkpoint.

        Raises:
            CheckpointError: For an encoder other than T5, tensors that don't fit, or an unusable tokenizer.
        """
        config = copy.deepcopy(checkpoint.text_encoder_config)  # T5EncoderModel writes to its config
        if config.model_type != "t5":
            raise CheckpointError(f"the text encoder is of the type {config.model_type!r}; only 't5' can be run")
        config._attn_implementation = "eager"  # SDPA's kernels change with the batch
        with torch.device("meta"):
            model = T5EncoderModel(config)
        expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        tensors = checkpoint.tensors("text_encoder", torch.float32)
        check_tensors(tensors, expected, "text_encoder")
        # The shared table has a second name in the module, under which it is stored in no checkpoint we are given.
        model.load_state_dict({**tensors, "encoder.embed_tokens.weight": tensors["shared.weight"]}, assign=True)
        model.eval().requires_grad_(False)
        return cls(model, _tokenizer(checkpoint), max_tokens=max_tokens)

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> list[np.ndarray]:
        """The states of each prompt's own tokens, end token included: float32 [S_i, D], in the prompts' order."""
        if not prompts:
            return []
        tokens: list[list[int]] = self._tokenizer(list(prompts), truncation=True, max_length=self._max_tokens).input_ids
        by_padded_length: dict[int, list[int]] = defaultdict(list)
        for i, ids in enumerate(tokens):
            by_padded_length[_round_up(len(ids))].append(i)
        states: dict[int, np.ndarray] = {}
        for padded_length, indices in by_padded_length.items():
            # As much memory as the longest prompt may take alone is all that a batch may take.
            num_rows = max(1, self._max_tokens // padded_length)
            for start in range(0, len(indices), num_rows):
                rows = indices[start : start + num_rows]
                states.update(zip(rows, self._run([tokens[i] for i in rows], padded_length), strict=True))
        return [states[i] for i in range(len(prompts))]

    def _run(self, tokens: Sequence[Sequence[int]], padded_length: int) -> list[np.ndarray]:
        ids = torch.zeros(len(tokens), padded_length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, row_tokens in enumerate(tokens):
            ids[row, : len(row_tokens)] = torch.tensor(row_tokens)
            mask[row, : len(row_tokens)] = 1
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return [states[row, : len(row_tokens)].numpy().copy() for row, row_tokens in enumerate(tokens)]


def _round_up(num_tokens: int) -> int:
    return -(-num_tokens // LENGTH_GRID) * LENGTH_GRID


def _tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    # Without either file AutoTokenizer makes up an empty vocabulary, to which every word is unknown.
    if not any((checkpoint.folder / name).is_file() for name in ("tokenizer.json", "spiece.model")):
        raise CheckpointError(f"{checkpoint.folder} has no tokenizer: neither tokenizer.json nor spiece.model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"the tokenizer in {checkpoint.folder} can't be read: {error}") from error
    vocab_size = checkpoint.text_encoder_config.vocab_size
    if len(tokenizer) > vocab_size:
        raise CheckpointError(f"the tokenizer has {len(tokenizer)} pieces, but the text encoder knows {vocab_size}")
    return tokenizer


MAX_CACHED_BYTES = 64 * 2**20  # some 1,500 prompts of a sentence at T5-base's width


class RecentStates:
    """A cache of recent text states, by the hash of the prompt: no prompt stays in memory. Not thread-safe.

    Args:
        max_bytes: of all states together.
    """

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._states: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._num_bytes = 0

    def get(self, prompt: str) -> np.ndarray | None:
        """The cached states [S, D] of the prompt, from now on the most recent ones; None where there are none."""
        key = _key(prompt)
        if key not in self._states:
            return None
        self._states.move_to_end(key)
        return self._states[key]

    def put(self, prompt: str, states: np.ndarray) -> None:
        """Caches the prompt's states, read-only, and evicts the oldest beyond the limit."""
        key = _key(prompt)
        states.flags.writeable = False
        replaced = self._states.pop(key, None)
        self._num_bytes += states.nbytes - (0 if replaced is None else replaced.nbytes)
        self._states[key] = states
        while self._num_bytes > self._max_bytes:
            _, oldest = self._states.popitem(last=False)
            self._num_bytes -= oldest.nbytes

    def check_integrity(self) -> None:
        """Checks the count of bytes.

        Raises:
            AssertionError: When the account of bytes is wrong, or above the limit.
        """
        assert self._num_bytes == sum(states.nbytes for states in self._states.values()), "bytes are miscounted"
        assert self._num_bytes <= self._max_bytes, f"{self._num_bytes} bytes are cached, {self._max_bytes} may be"


def _key(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()

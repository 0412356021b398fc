"""A MusicGen's checkpoint in transformers' format, open for reading.

Three parts decode, and each deployment reads its own: "text_encoder" (T5), "language_model" (the decoder and the
projection of the text states into it) and "codec" (EnCodec's codebooks and decoder). Every tensor in the files belongs
to one of them or is on the list of those that decoding doesn't need (`tensor_files.NOT_NEEDED`), or the checkpoint
doesn't open; and each reader compares what it gets with what it needs (`check_tensors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, T5Config

from deployments.checkpoints.config import CheckpointError, first_few, read_config
from deployments.checkpoints.sources import fingerprint_of
from deployments.checkpoints.tensor_files import Part, TensorFiles, TensorReader, fuse_weight_norm, sort_into_parts

_T5_TABLES = ("encoder.embed_tokens.weight", "shared.weight")


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint: its configuration, and where its tensors are.

    Attributes:
        config: transformers' configuration of the whole.
        files: where its tensors are.
    """

    folder: Path
    config: MusicgenConfig
    files: TensorFiles

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Reads the configuration and the names of the tensors, not the tensors.

        Raises:
            CheckpointError: For a folder that is missing or empty, a file that is missing or broken, a model that isn't
                a MusicGen, and tensors that no MusicGen has.
        """
        if not folder.is_dir():
            raise CheckpointError(f"there is no folder {folder}")
        if not any(folder.iterdir()):
            raise CheckpointError(f"the folder {folder} is empty")
        config = read_config(folder)
        checkpoint = cls(folder, config, TensorFiles.open(folder))
        checkpoint._names_of_parts()
        return checkpoint

    @property
    def text_encoder_config(self) -> T5Config:
        return self.config.text_encoder

    @property
    def decoder_config(self) -> MusicgenDecoderConfig:
        return self.config.decoder

    @property
    def codec_config(self) -> EncodecConfig:
        return self.config.audio_encoder

    def tensors(self, part: Part, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """One part's tensors by name, cast to dtype where one is given, else as stored; only these are read.

        Names are those of transformers' own classes for the part:
        - text_encoder: of `T5EncoderModel`, the prefix `text_encoder.` cut off; its embedding is `shared.weight`.
        - language_model: of `MusicgenForConditionalGeneration` as they are, `decoder.*` and `enc_to_dec_proj.*`; the
          latter is absent where text and decoder have the same width. `decoder.lm_heads.*` are always there.
        - codec: of `EncodecModel`, the prefix `audio_encoder.` cut off, with weight norm fused into plain `weight`.

        What is stored in the type wanted may be a view of the mapped file: not to be written to.

        Raises:
            CheckpointError: For half a weight norm.
        """
        if part == "language_model":
            reader = self.language_model_reader()
            return reader.read(reader.shapes, dtype)
        tensors = self.files.read(self._names_of_parts()[part], dtype)
        if part == "text_encoder":
            return _with_one_table({name.removeprefix("text_encoder."): tensor for name, tensor in tensors.items()})
        return fuse_weight_norm({name.removeprefix("audio_encoder."): tensor for name, tensor in tensors.items()})

    def language_model_reader(self) -> TensorReader:
        """The part "language_model", tensor by tensor, under the names of `tensors`.

        Heads tied to the embeddings and left out are the embeddings' rows of real tokens (the last is the pad). Heads
        that are stored are used whatever the configuration says of tying, as transformers does. (It has never tied
        them itself: where they are left out, 5.23 draws them at random and says so.)
        """
        shapes = self.files.shapes(self._names_of_parts()["language_model"])
        decoder, tied = self.decoder_config, {}
        if decoder.tie_word_embeddings and not any(name.startswith("decoder.lm_heads.") for name in shapes):
            for k in range(decoder.num_codebooks):
                embedding = f"decoder.model.decoder.embed_tokens.{k}.weight"
                if embedding in shapes:
                    tied[f"decoder.lm_heads.{k}.weight"] = embedding
        heads = {head: (decoder.vocab_size, *shapes[embedding][1:]) for head, embedding in tied.items()}
        return TensorReader(self.files, shapes | heads, tied)

    def fingerprint(self) -> str:
        """A name for these very weights, for cache keys; the cost is that of reading every file once.

        The commit of a snapshot of the hub (at no cost), else a SHA-256 over the configuration, the tokenizer and the
        weights: 64 hexadecimal digits, about a second for each GB. See `sources.fingerprint_of`.
        """
        return fingerprint_of(self.folder, self.files.paths)

    def _names_of_parts(self) -> dict[Part, list[str]]:
        try:
            return sort_into_parts(self.files.locations)
        except CheckpointError as error:
            raise CheckpointError(f"the weights in {self.folder} don't fit: {error}") from error


def _with_one_table(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """T5's embedding is stored under one name or two; where they differ transformers' encoder reads its own."""
    found = [tensors.pop(name) for name in _T5_TABLES if name in tensors]
    return {"shared.weight": found[0], **tensors} if found else tensors


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], part: Part) -> None:
    """Checks the names and shapes of tensors.

    Raises:
        CheckpointError: Unless these are exactly the expected names, each of the expected shape.
    """
    check_shapes({name: tuple(tensor.shape) for name, tensor in found.items()}, expected, part)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], part: Part) -> None:
    """The same, of the shapes alone."""
    misshapen = [
        f"{name} {list(shapes[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != tuple(shape)
    ]
    faults = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - expected.keys()),
        "of the wrong shape": misshapen,
    }
    parts = [f"{fault}: {first_few(names)}" for fault, names in faults.items() if names]
    if parts:
        raise CheckpointError(f"the {part.replace('_', ' ')}'s tensors don't fit its config.json; {'; '.join(parts)}")

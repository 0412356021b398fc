"""Which tensor of a MusicGen belongs to which of the three parts that decode, and which to none."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

from deployments.checkpoints.errors import CheckpointError, first_few

Part = Literal["text_encoder", "language_model", "codec"]

PARTS: dict[Part, tuple[str, ...]] = {
    "text_encoder": ("text_encoder.*",),
    "language_model": ("decoder.*", "enc_to_dec_proj.*"),
    "codec": ("audio_encoder.decoder.*", "audio_encoder.quantizer.layers.*.codebook.embed"),
}

# What a checkpoint may hold though decoding doesn't read it.
NOT_NEEDED = {
    "audio_encoder.encoder.*": "turns sound into codes; decoding goes the other way",
    "audio_encoder.quantizer.layers.*.codebook.embed_avg": "a running mean from the codec's training",
    "audio_encoder.quantizer.layers.*.codebook.cluster_size": "a running count from the codec's training",
    "audio_encoder.quantizer.layers.*.codebook.inited": "whether that training has begun",
    "decoder.model.decoder.embed_positions.weights": "a table of sines, computed anew; stored by transformers 4 only",
}


def sort_into_parts(names: Iterable[str]) -> dict[Part, list[str]]:
    """Every name under its part, but those not needed.

    Raises CheckpointError for names that belong nowhere, and for a part without any.
    """
    parts: dict[Part, list[str]] = {part: [] for part in PARTS}
    unknown = []
    for name in sorted(names):
        if _matches(name, NOT_NEEDED):
            continue
        home = next((part for part, patterns in PARTS.items() if _matches(name, patterns)), None)
        if home is None:
            unknown.append(name)
        else:
            parts[home].append(name)
    if unknown:
        raise CheckpointError(f"a MusicGen has no tensors named {first_few(unknown)}")
    for part, found in parts.items():
        if not found:
            raise CheckpointError(f"the tensors of the {part.replace('_', ' ')} are missing")
    return parts


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

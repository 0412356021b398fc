"""What names a generation, its sound, and a request without a seed: SHA-256 over canonical JSON.

The length of the music is not in a generation's key: its first frames do not depend on how many follow, so that what is
kept can be cut and extended. Whatever else decides a code is in it; so are the scope, which keeps those apart who must
not share, and a schema number, to be raised when the same fields come to mean other codes or another sound.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deployments.messages import Sampling

SCHEMA = 2

Kind = Literal["codes", "alias", "sound"]
KINDS: tuple[Kind, ...] = ("codes", "alias", "sound")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID_DIGITS = 32


@dataclass(frozen=True)
class Key:
    """The name of one entry. digest: 64 hexadecimal digits, nothing else; so a name is safe in a path and in a URL.

    Raises: ValueError for anything else.
    """

    kind: Kind
    digest: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind of a key is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError("the digest of a key is 64 hexadecimal digits in lower case")

    def __str__(self) -> str:
        return f"{self.kind}/{self.digest}"


@dataclass(frozen=True)
class ModelIdentity:
    """Which model makes the codes, and how exactly.

    revision: a hub's commit, or a folder's fingerprint (`deployments.checkpoints.sources`). numerics: as the engine
    states it. vocab_size: codes that a codebook has.
    """

    name: str
    revision: str
    numerics: str
    vocab_size: int


@dataclass(frozen=True)
class GenerationRequest:
    """All that decides a generation's codes but for the seed.

    scope: who shares what is kept; those of another scope never see it. prompt: in any spelling that `folded` makes
    one. prompt_codes: int16 [K, N], what the music goes on from, or None.
    """

    scope: str
    model: ModelIdentity
    prompt: str
    sampling: Sampling
    prompt_codes: np.ndarray | None = None


def generation_key(request: GenerationRequest, seed: int) -> Key:
    """The key of the codes. seed: 0 <= seed < 2**64. Raises: ValueError, as `alias_key`."""
    return Key("codes", _digest(_decides(request) | {"key": "generation", "seed": seed}))


def alias_key(request: GenerationRequest) -> Key:
    """The key under which a request without a seed finds the seed drawn for the last one like it.

    Raises: ValueError for a number that is not finite, or prompt codes that are not [K, N] integers.
    """
    return Key("alias", _digest(_decides(request) | {"key": "alias"}))


def audio_key(generation: Key, duration_ms: int, container: str, loudness_lufs: float | None) -> Key:
    """The key of a finished file.

    duration_ms: of the sound, in whole milliseconds. container: its name. loudness_lufs: what it was brought to, or
    None for the sound as it was decoded.
    """
    if generation.kind != "codes":
        raise ValueError(f"sound is kept under the key of a generation, not of {generation.kind}")
    loudness = None if loudness_lufs is None else _number(loudness_lufs)
    decides = {
        "key": "sound",
        "schema": SCHEMA,
        "generation": generation.digest,
        "duration_ms": duration_ms,
        "container": container,
        "loudness_lufs": loudness,
    }
    return Key("sound", _digest(decides))


def short_id(digest: str) -> str:
    """A generation's name for people, 32 hexadecimal digits: the same for the same music, however long. digest: of its
    key.
    """
    return digest[:_ID_DIGITS]


def folded(prompt: str) -> str:
    """NFC, every run of white space one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", prompt).split())


def canonical_sampling(sampling: Sampling, vocab_size: int) -> Sampling:
    """The one of all settings with the same effect: off is 0 for top_k and top_p, both are off when greedy."""
    canonical = Sampling(
        guidance_scale=_number(sampling.guidance_scale),
        temperature=_number(sampling.temperature),
        top_k=0 if sampling.top_k >= vocab_size else sampling.top_k,
        top_p=0.0 if sampling.top_p >= 1 else _number(sampling.top_p),
    )
    return replace(canonical, top_k=0, top_p=0.0) if canonical.temperature == 0 else canonical


def _decides(request: GenerationRequest) -> dict[str, object]:
    model = request.model
    sampling = canonical_sampling(request.sampling, model.vocab_size)
    return {
        "schema": SCHEMA,
        "scope": request.scope,
        "model": model.name,
        "revision": model.revision,
        "numerics": model.numerics,
        "prompt": folded(request.prompt),
        "guidance_scale": sampling.guidance_scale,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "prompt_codes": _codes_digest(request.prompt_codes),
    }


def _number(value: float) -> float:
    """As a float, so that 3 and 3.0 are one, and so are 0.0 and -0.0."""
    return float(value) + 0.0


def _codes_digest(codes: np.ndarray | None) -> str | None:
    """None for no prompt codes, which codes of no frames are too."""
    if codes is None or (codes.ndim == 2 and codes.shape[1] == 0):
        return None
    if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"prompt codes must be integers [codebooks, frames], not {codes.dtype} {list(codes.shape)}")
    shape = f"{codes.shape[0]}x{codes.shape[1]}:"
    return hashlib.sha256(shape.encode() + codes.astype("<i2").tobytes()).hexdigest()


def _digest(decides: dict[str, object]) -> str:
    canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()

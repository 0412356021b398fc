"""What a judge that nobody here trained makes of reconstructions; see `etude/judges/musicnn.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from etude.judges.frechet import frechet_distance
from etude.judges.musicnn import TagJudge


@dataclass(frozen=True)
class Hearing:
    """distance: Fréchet's, of musicnn's embeddings of reconstructions from those of the same pieces.

    between_pieces: of one half of the pieces from the other, the distance of sounds that are of a kind. same_tag: in
    which share of the pieces the likeliest tag is the same.
    """

    distance: float
    between_pieces: float
    same_tag: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def hear(judge: TagJudge, pieces: Sequence[Tensor], restored: Sequence[Tensor], sample_rate: int) -> Hearing:
    """pieces: each [samples], of 3 s at least, in the order of what was restored of them.

    Raises ValueError for shorter ones.
    """
    tags, embeddings = _opinions(judge, pieces, sample_rate)
    restored_tags, restored_embeddings = _opinions(judge, restored, sample_rate)
    halves = [np.concatenate(embeddings[half::2]) for half in (0, 1)]
    return Hearing(
        distance=frechet_distance(np.concatenate(restored_embeddings), np.concatenate(embeddings)),
        between_pieces=frechet_distance(*halves),
        same_tag=float(np.mean([one == other for one, other in zip(tags, restored_tags, strict=True)])),
    )


def _opinions(
    judge: TagJudge, sounds: Sequence[Tensor], sample_rate: int
) -> tuple[list[int], list[NDArray[np.float64]]]:
    """Of each sound the likeliest tag and its embeddings."""
    heard = [judge.listen(sound.numpy(), sample_rate) for sound in sounds]
    return [int(tags.mean(axis=0).argmax()) for tags, _ in heard], [embeddings for _, embeddings in heard]

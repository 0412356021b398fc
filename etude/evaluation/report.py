"""All figures of an evaluation, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etude.codec.metrics import Figures
from etude.evaluation.following import Following, Share
from etude.evaluation.likeness import Likeness
from etude.evaluation.liveliness import Liveliness
from etude.evaluation.systems import CODEC, MODEL, REFERENCE, UNTRAINED
from etude.language_model.likelihood import Likelihood


@dataclass(frozen=True)
class SystemFigures:
    """Of one system's clips. frechet: distance to the held-out rendered pieces; that of the reference itself is of one
    half of it to the other."""

    following: Following
    likeness: Likeness
    liveliness: Liveliness
    frechet: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "following": self.following.as_dict(),
            "likeness": self.likeness.as_dict(),
            "liveliness": self.liveliness.as_dict(),
            "frechet": self.frechet,
        }


@dataclass(frozen=True)
class Report:
    """systems: by name. codec, random_codec: reconstruction of held-out pieces by the checkpoint's codec and by one of
    random weights. seeds_differ: the share of prompts that two seeds make two clips of.
    """

    systems: Mapping[str, SystemFigures]
    codec: Figures
    random_codec: Figures
    likelihood: Likelihood
    seeds_differ: float

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "systems": {name: figures.as_dict() for name, figures in self.systems.items()},
            "codec": self.codec.as_dict(),
            "random_codec": self.random_codec.as_dict(),
            "likelihood": self.likelihood.as_dict(),
            "seeds_differ": self.seeds_differ,
        }

    def last_line(self) -> dict[str, Any]:
        """The figures that the checkpoint is judged by. What no prompt asked for is None.

        in_key_ratio: how far the key is above chance, as a share of how far it is in the rendered pieces.
        """
        model, reference = self.systems[MODEL], self.systems[REFERENCE]
        following, lively = model.following, model.liveliness
        return {
            "codec_mel_ratio": self.codec.mel_distance / self.random_codec.mel_distance,
            "spectral_convergence": self.codec.spectral_convergence,
            "codebook_use": min(self.codec.codebook_use),
            "tempo_ok": following.tempo.right,
            "tempo_chance": following.tempo.chance,
            "instrument_ok": following.family.right,
            "instrument_chance": following.family.chance,
            "instrument_ok_through_codec": following.family_through_codec.right,
            "in_key": following.key.right,
            "in_key_chance": following.key.chance,
            "in_key_ratio": _above_chance(following.key, reference.following.key),
            "drums_ok": following.drums.right,
            "drums_chance": following.drums.chance,
            "silent": lively.silent,
            "clipped": lively.clipped,
            "collapsed": lively.collapsed,
            "seeds_differ": self.seeds_differ,
            "frechet_ratio": model.frechet / self.systems[UNTRAINED].frechet,
            "clips": lively.clips,
        }

    def table(self) -> str:
        """Every system's figures side by side, as Markdown: how right it is, and by chance."""
        names = [name for name in (MODEL, UNTRAINED, CODEC, REFERENCE) if name in self.systems]
        columns = [self.systems[name] for name in names]
        rows = {
            "tempo": [_both(each.following.tempo) for each in columns],
            "in key": [_both(each.following.key) for each in columns],
            "instrument": [_both(each.following.family) for each in columns],
            "instrument, by who knows the codec": [_both(each.following.family_through_codec) for each in columns],
            "drums": [_both(each.following.drums) for each in columns],
            "brightness, rank": [_number(each.likeness.brightness) for each in columns],
            "onsets, rank": [_number(each.likeness.onsets) for each in columns],
            "level, rank": [_number(each.likeness.level) for each in columns],
            "Fréchet distance": [_number(each.frechet) for each in columns],
            "silent": [str(each.liveliness.silent) for each in columns],
            "clipped": [str(each.liveliness.clipped) for each in columns],
            "collapsed": [str(each.liveliness.collapsed) for each in columns],
            "level, dB": [_number(each.liveliness.level_db) for each in columns],
        }
        lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())]) + "\n"


def _above_chance(found: Share, most: Share) -> float | None:
    if found.right is None or found.chance is None or most.right is None or most.chance is None:
        return None
    return (found.right - found.chance) / (most.right - most.chance)


def _both(share: Share) -> str:
    return f"{_number(share.right)} ({_number(share.chance)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"  # noqa: RUF001

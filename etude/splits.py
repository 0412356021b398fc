"""Which seeds are for what. The evaluation's pieces are never trained on, because their seeds are here."""

from __future__ import annotations

# Each so far from the next that nobody runs into it.
SPLITS = {
    "train": range(10_000_000),
    "validation": range(10_000_000, 11_000_000),
    "test": range(11_000_000, 12_000_000),
}


def split_of(seeds: range) -> str:
    """The split that all of these seeds belong to. Raises ValueError where they belong to none, or to several."""
    for name, members in SPLITS.items():
        if seeds.start in members and seeds[-1] in members:
            return name
    splits = ", ".join(f"{name} {members.start} to {members.stop - 1}" for name, members in SPLITS.items())
    raise ValueError(f"seeds {seeds.start} to {seeds[-1]} are not within one split: {splits}")

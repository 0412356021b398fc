"""Renders a dataset: pieces of consecutive seeds, with descriptions, in shards.

    python -m etude.dataset FOLDER --pieces 1024 --first-seed 0 --workers 2 [--level notes|solo|bands|all] [--exact]
        [--produced]

What is there already is not made again, so the same command goes on after a kill, and one with more pieces adds to a
folder. The seeds say which split the pieces belong to (`etude/splits.py`). `etude.shards.read_clips` reads the folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from etude.score.compose import compose
from etude.score.describe import describe_fully
from etude.score.plan import Level
from etude.shards import Clip, shard_path, write_shard
from etude.sound.fluidsynth import FLUID, SOUND_FONTS, Synthesizer, SynthesizerError
from etude.sound.mastering import to_int16
from etude.sound.production import Production, produce
from etude.sound.render import render
from etude.splits import split_of

PIECES_PER_SHARD = 32
DESCRIPTIONS_PER_PIECE = 12
SETTINGS_FILE = "dataset.json"


@dataclass(frozen=True)
class Settings:
    """What all pieces of a folder have in common. length_s: of every piece, or None where each has its own. exact:
    whether they are played exactly (`etude/score/exact.py`). produced: whether each has players, a sound font and a
    room of its own, and all the same loudness (`etude/sound/production.py`).
    """

    level: Level = "all"
    length_s: float | None = None
    exact: bool = False
    produced: bool = False


Synthesizers = Mapping[str, Synthesizer]
"""By the names of their sound fonts."""


def synthesizers_for(settings: Settings) -> Synthesizers:
    """Those that pieces of these settings need. Raises SynthesizerError where one is missing."""
    names = tuple(SOUND_FONTS) if settings.produced else (FLUID,)
    return {name: Synthesizer.find(name) for name in names}


def make_clip(seed: int, settings: Settings, synthesizers: Synthesizers) -> Clip:
    """The piece of a seed, rendered and described."""
    piece = compose(seed, level=settings.level, length_s=settings.length_s, exact=settings.exact)
    descriptions = describe_fully(piece.plan, DESCRIPTIONS_PER_PIECE)
    attributes = {**piece.plan.attributes(), "split": split_of(range(seed, seed + 1))}
    if not settings.produced:
        return Clip(to_int16(render(piece, synthesizers[FLUID])), descriptions, attributes)
    production = Production.draw(seed)
    sound = produce(piece, production, synthesizers)
    return Clip(to_int16(sound), descriptions, {**attributes, **production.attributes()})


def make_dataset(folder: Path, seeds: range, settings: Settings, *, workers: int) -> None:
    """Makes the shards that the folder lacks, so many at a time.

    seeds: whole shards of `PIECES_PER_SHARD`, within one split. Raises ValueError otherwise, or for a folder of other
    settings; SynthesizerError.
    """
    if not seeds or seeds.start % PIECES_PER_SHARD or len(seeds) % PIECES_PER_SHARD:
        raise ValueError(f"first seed and pieces must be multiples of {PIECES_PER_SHARD}, the size of a shard")
    split_of(seeds)
    synthesizers = synthesizers_for(settings)
    _settle(folder, settings)

    def make(shard: range) -> int:
        write_shard(folder, shard, [make_clip(seed, settings, synthesizers) for seed in shard])
        return len(shard)

    shards = [range(start, start + PIECES_PER_SHARD) for start in range(seeds.start, seeds.stop, PIECES_PER_SHARD)]
    missing = [shard for shard in shards if not shard_path(folder, shard).exists()]
    made = len(seeds) - len(missing) * PIECES_PER_SHARD
    # Threads do: nearly all of the work is another program's.
    pool = ThreadPoolExecutor(workers)
    try:
        with tqdm(total=len(seeds), initial=made, unit="piece", desc=folder.name) as progress:
            for done in as_completed([pool.submit(make, shard) for shard in missing]):
                progress.update(done.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _settle(folder: Path, settings: Settings) -> None:
    """Writes the settings into a new folder, and compares them with those of an old one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS_FILE
    wanted = asdict(settings)
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        unfinished.replace(path)
    # Folders of before have no word of settings that are newer.
    there = {**asdict(Settings()), **json.loads(path.read_text(encoding="utf-8"))}
    if there != wanted:
        raise ValueError(f"{folder} was made with {there}, not with {wanted}: choose another folder")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.dataset", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the shards are, or are to be")
    parser.add_argument("--pieces", type=int, required=True, help=f"a multiple of {PIECES_PER_SHARD}")
    parser.add_argument("--first-seed", type=int, default=0, help=f"a multiple of {PIECES_PER_SHARD}; default 0")
    parser.add_argument("--workers", type=int, default=1, help="shards made at a time; default 1")
    parser.add_argument("--level", choices=get_args(Level), default="all", help="how much plays at once; default all")
    parser.add_argument("--length-s", type=float, help="of every piece; each has its own otherwise")
    parser.add_argument("--exact", action="store_true", help="played on the codec's frames, a note always the same")
    parser.add_argument("--produced", action="store_true", help="players, sound font and room of its own for each")
    options = parser.parse_args(arguments)
    seeds = range(options.first_seed, options.first_seed + options.pieces)
    settings = Settings(options.level, options.length_s, options.exact, options.produced)
    try:
        make_dataset(options.folder, seeds, settings, workers=options.workers)
    except (ValueError, OSError, SynthesizerError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])

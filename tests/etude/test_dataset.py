from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from etude import dataset
from etude.dataset import SETTINGS_FILE, Settings, Synthesizers, main, make_clip, make_dataset
from etude.shards import read_clips
from etude.sound.fluidsynth import FLUID, MUSESCORE, Synthesizer
from etude.splits import SPLITS

SHORT = Settings(level="solo", length_s=1.5)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch, synthesizer: Synthesizer) -> None:
    """Two pieces in a shard, so that a test needs few."""
    monkeypatch.setattr(dataset, "PIECES_PER_SHARD", 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_clip_is_a_piece_with_its_words_and_its_split(synthesizer: Synthesizer) -> None:
    clip = make_clip(SPLITS["test"].start, SHORT, {FLUID: synthesizer})
    assert clip.pcm.dtype == np.int16
    assert clip.pcm.shape == (48000,)
    assert clip.attributes["split"] == "test"
    assert clip.attributes["ensemble"] == "solo"
    assert len({description.text for description in clip.descriptions}) >= 3


@pytest.mark.usefixtures("small_shards")
def test_the_same_seeds_give_the_same_files_whatever_the_number_of_workers(tmp_path: Path) -> None:
    make_dataset(tmp_path / "one", range(6), SHORT, workers=1)
    make_dataset(tmp_path / "two", range(6), SHORT, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert [clip.attributes["seed"] for clip in read_clips(tmp_path / "one")] == list(range(6))


@pytest.mark.usefixtures("small_shards")
def test_a_run_that_was_killed_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path / "whole", range(6), SHORT, workers=1)

    def make_or_die(seed: int, settings: Settings, synthesizers: Synthesizers) -> dataset.Clip:
        if seed == 3:
            raise KeyboardInterrupt
        return make_clip(seed, settings, synthesizers)

    with monkeypatch.context() as broken:
        broken.setattr(dataset, "make_clip", make_or_die)
        with pytest.raises(KeyboardInterrupt):
            make_dataset(tmp_path / "broken", range(6), SHORT, workers=1)
    assert len(list((tmp_path / "broken").glob("*.npy"))) < 3

    # What a kill in the middle of writing leaves.
    (tmp_path / "broken" / "00000002-00000003.unfinished").write_bytes(b"half a sh")
    before = contents(tmp_path / "broken")
    make_dataset(tmp_path / "broken", range(6), SHORT, workers=1)
    after = contents(tmp_path / "broken")
    assert after == contents(tmp_path / "whole")
    assert all(after[name] == sound for name, sound in before.items() if name.endswith(".npy"))


@pytest.mark.usefixtures("small_shards")
def test_what_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path, range(2), SHORT, workers=1)
    made: list[int] = []

    def make_and_note(seed: int, settings: Settings, synthesizers: Synthesizers) -> dataset.Clip:
        made.append(seed)
        return make_clip(seed, settings, synthesizers)

    monkeypatch.setattr(dataset, "make_clip", make_and_note)
    make_dataset(tmp_path, range(4), SHORT, workers=1)
    assert made == [2, 3]


@pytest.mark.usefixtures("small_shards")
def test_a_folder_is_of_one_kind(tmp_path: Path) -> None:
    make_dataset(tmp_path, range(2), SHORT, workers=1)
    with pytest.raises(ValueError, match="choose another folder"):
        make_dataset(tmp_path, range(4), Settings(level="solo", length_s=2.0), workers=1)


@pytest.mark.usefixtures("small_shards")
def test_a_folder_of_before_there_were_productions_is_added_to(tmp_path: Path) -> None:
    make_dataset(tmp_path, range(2), SHORT, workers=1)
    path = tmp_path / SETTINGS_FILE
    there = json.loads(path.read_text(encoding="utf-8"))
    del there["produced"]
    path.write_text(json.dumps(there), encoding="utf-8")
    make_dataset(tmp_path, range(4), SHORT, workers=1)
    assert len(list(read_clips(tmp_path))) == 4


def test_a_produced_clip_says_how_it_was_produced(synthesizer: Synthesizer) -> None:
    settings = Settings(level="solo", length_s=1.5, produced=True)
    clip = make_clip(0, settings, {FLUID: synthesizer, MUSESCORE: synthesizer})
    assert clip.attributes["sound_font"] in (FLUID, MUSESCORE)
    assert clip.attributes["reverb_s"] >= 0
    assert not np.array_equal(clip.pcm, make_clip(0, SHORT, {FLUID: synthesizer}).pcm)


@pytest.mark.parametrize(("first", "last"), [(0, 33), (16, 48), (0, 0)])
def test_shards_are_whole(first: int, last: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        make_dataset(tmp_path, range(first, last), SHORT, workers=1)


def test_a_dataset_is_of_one_split(tmp_path: Path) -> None:
    border = SPLITS["validation"].start
    with pytest.raises(ValueError, match="not within one split"):
        make_dataset(tmp_path, range(border - 32, border + 32), SHORT, workers=1)


def test_the_command_says_what_is_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--pieces", "5"])
    assert "multiples of 32" in capsys.readouterr().err


def test_the_command_makes_a_dataset(tmp_path: Path, synthesizer: Synthesizer) -> None:
    first = SPLITS["validation"].start
    main([str(tmp_path), "--pieces", "32", "--first-seed", str(first), "--level", "notes", "--length-s", "1"])
    clips = list(read_clips(tmp_path))
    assert [clip.attributes["seed"] for clip in clips] == list(range(first, first + 32))
    assert {clip.attributes["split"] for clip in clips} == {"validation"}

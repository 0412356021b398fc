from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deployments.messages import Sampling
from etude import evaluate
from etude.evaluation.liveliness import differ
from etude.evaluation.players import EnginePlayer
from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.shards import Clip, read_clips, write_shard
from tests.etude.evaluation.sounds import clicks, tones
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At 16 kHz, to be quick."""
    folder = tmp_path_factory.mktemp("played") / "checkpoint"
    return tiny_checkpoint(folder, vocab=64, layers=1, ratios=(8, 5, 4, 2), codec_width=8, text_layers=1)


def pieces(folder: Path, first_seed: int) -> Path:
    """Four pieces of two seconds: clicks where there are drums, else a chord."""
    folder.mkdir()
    clips = []
    for seed in range(first_seed, first_seed + 400):
        plan = draw_plan(seed, level="solo")
        if plan.families[0] == ("drums", "flute")[len(clips) % 2] and len(clips) < 4:
            sound = clicks(plan.tempo_bpm, 2) if plan.has_drums else tones([440, 550])
            pcm = (sound * 32767).clip(-32768, 32767).astype(np.int16)
            clips.append(Clip(pcm, describe_often(plan, 4), plan.attributes()))
    write_shard(folder, range(first_seed, first_seed + 4), clips)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Held-out pieces, and references."""
    root = tmp_path_factory.mktemp("pieces")
    return pieces(root / "held_out", 11_000_000), pieces(root / "references", 0)


def arguments(checkpoint: Path, folders: tuple[Path, Path], out: Path) -> list[str]:
    held_out, references = folders
    given = [str(checkpoint), "--held-out", str(held_out), "--references", str(references), "--out", str(out)]
    return [*given, "--clips=4", "--duration-s=1.5", "--threads=1", "--nice=0"]


@pytest.mark.parametrize("player", ["engine", "transformers"])
def test_every_figure_stands_beside_its_chance_and_ceiling(
    player: str,
    checkpoint: Path,
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate.main([*arguments(checkpoint, folders, tmp_path), f"--player={player}"])
    printed = capsys.readouterr().out
    last = json.loads(printed.splitlines()[-1])
    wanted = "codec_mel_ratio spectral_convergence codebook_use tempo_ok tempo_chance instrument_ok instrument_chance"
    wanted += " in_key in_key_chance silent clipped collapsed frechet_ratio clips"
    assert set(wanted.split()) <= last.keys()
    assert (last["clips"], last["instrument_ok"] is None) == (4, False)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures["systems"]) == ["model", "untrained", "codec", "reference"]
    reference = figures["systems"]["reference"]
    assert reference["following"]["family"]["right"] == reference["following"]["drums"]["right"] == 1.0
    assert reference["likeness"]["brightness"] == pytest.approx(1)
    assert len(figures["likelihood"]["with_text"]) == 4
    assert (tmp_path / "figures.md").read_text() in printed
    assert (tmp_path / "mels.png").stat().st_size > 1000
    sound, rate = soundfile.read(tmp_path / "00.wav")
    assert (len(sound), rate) == (24000, 16000)
    asked = {description.text for clip in read_clips(folders[0]) for description in clip.descriptions}
    assert (tmp_path / "00.txt").read_text().strip() in asked


def test_a_seed_makes_the_same_clips_and_another_others(checkpoint: Path) -> None:
    player = EnginePlayer(checkpoint, Sampling(), num_threads=1)
    first, again, other = (player.play(["a flute", "drums"], num_frames=20, seed=seed) for seed in (0, 0, 9))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.sound, b.sound)
        assert (a.codes.shape, a.sound.shape) == ((4, 20), (20 * 320,))
        assert differ(a.codes, c.codes)


def test_references_that_are_held_out_are_refused(
    checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(arguments(checkpoint, (folders[0], folders[0]), tmp_path))
    assert "take others" in capsys.readouterr().err

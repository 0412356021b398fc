from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deployments.checkpoints.checkpoint import Checkpoint
from etude import encode_codes, train_lm
from etude.language_model.code_shards import read_code_clips
from tests.etude.language_model.test_audio_folder import write_sound

QUICK = [
    "--steps=3",
    "--batch=2",
    "--context-s=0.2",
    "--figures-steps=1",
    "--threads=1",
    "--nice=0",
    "--warmup-steps=0",
]


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Three files with descriptions."""
    folder = tmp_path / "sounds"
    for number, text in enumerate(("rain", "a slow piano", "drums")):
        write_sound(folder / f"{number}.wav", rate=500 * (number + 1), channels=1 + number % 2)
        (folder / f"{number}.txt").write_text(text)
    return folder


def arguments(checkpoint: Path, data: Path, out: Path) -> list[str]:
    return ["--from", str(checkpoint), "--data", str(data), "--out", str(out), *QUICK]


def test_a_folder_of_audio_files_makes_a_checkpoint(
    checkpoint: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train_lm.main([*arguments(checkpoint, sounds, out), "--held-out", str(sounds), "--dtype=float16"])
    assert "checkpoint is the model after step 3" in capsys.readouterr().out
    assert Checkpoint.open(out / "checkpoint").config.dtype == torch.float16
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "held_out" in line] == [0, 1, 2, 3]
    assert (out / "log.png").stat().st_size > 1000
    assert json.loads((out / "recipe.json").read_text())["context_s"] == [0.2]
    assert sorted(clip.texts[0] for clip in read_code_clips(out / "codes" / "0")) == ["a slow piano", "drums", "rain"]


def test_codes_made_before_are_used_as_they_are_and_only_with_their_codec(
    checkpoint: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = tmp_path / "codes"
    encode_codes.main([str(sounds), "--codec", str(checkpoint), "--out", str(codes), "--threads=1", "--nice=0"])
    train_lm.main(arguments(checkpoint, codes, tmp_path / "out"))
    assert not (tmp_path / "out" / "codes").exists()
    train_lm.main([*arguments(checkpoint, codes, tmp_path / "both"), "--data", str(codes), str(sounds)])
    assert [path.name for path in (tmp_path / "both" / "codes").iterdir()] == ["1"]
    described = json.loads((codes / "codes.json").read_text())
    (codes / "codes.json").write_text(json.dumps({**described, "lengths": [[1.0]]}))
    with pytest.raises(SystemExit):
        train_lm.main(arguments(checkpoint, codes, tmp_path / "other"))
    assert "are another codec's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (["--from", "./nowhere"], "there is no folder"),
        (["--from", "facebook/musicgen-small"], "needs a revision"),
        (["--data", "nowhere"], "neither shards of etude.dataset nor audio files"),
        (["--steps", "0"], "greater than or equal to 1"),
        (["--score", "0.5"], "there are none in --data"),
    ],
)
def test_what_is_wrong_is_said(
    change: list[str],
    complaint: str,
    checkpoint: Path,
    sounds: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        train_lm.main([*arguments(checkpoint, sounds, tmp_path / "out"), *change])
    assert complaint in capsys.readouterr().err


def test_a_codec_alone_encodes_and_another_model_does_not(
    checkpoint: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode_codes.load_encoder(checkpoint)._codec.save_pretrained(tmp_path / "codec")
    for source in ("codec", "checkpoint"):
        folder = tmp_path / "codec" if source == "codec" else checkpoint
        encode_codes.main([str(sounds), "--codec", str(folder), "--out", str(tmp_path / source), "--threads=1"])
    made = {path.name: path.read_bytes() for path in (tmp_path / "codec").parent.glob("checkpoint/*")}
    alone = tmp_path / "codec"
    assert {path.name: path.read_bytes() for path in alone.iterdir() if path.suffix in (".npy", ".jsonl")} == {
        name: content for name, content in made.items() if name.endswith((".npy", ".jsonl"))
    }
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(SystemExit):
        encode_codes.main([str(sounds), "--codec", str(tmp_path / "t5"), "--out", str(tmp_path / "x")])
    assert "neither 'encodec' nor 'musicgen'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_killed_at_any_moment_goes_on_bit_for_bit(checkpoint: Path, sounds: Path, tmp_path: Path) -> None:
    def begin(out: Path) -> subprocess.Popen[bytes]:
        given = [*arguments(checkpoint, sounds, out), "--steps=40", "--dropout=0.2", "--save-minutes=0.005"]
        return subprocess.Popen([sys.executable, "-m", "etude.train_lm", *given], stderr=subprocess.DEVNULL)

    assert begin(tmp_path / "whole").wait(120) == 0
    process = begin(tmp_path / "killed")
    try:
        until = time.monotonic() + 120
        states = tmp_path / "killed" / "state"
        while not (states.is_dir() and any(path.name.isdigit() and int(path.name) > 5 for path in states.iterdir())):
            assert time.monotonic() < until
            assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert begin(tmp_path / "killed").wait(120) == 0
    whole, killed = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert (tmp_path / "whole" / "log.jsonl").read_text() == (tmp_path / "killed" / "log.jsonl").read_text()

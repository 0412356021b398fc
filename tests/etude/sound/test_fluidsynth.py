from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etude.score.compose import compose
from etude.score.midi import to_midi
from etude.sound.fluidsynth import Synthesizer, SynthesizerError


def test_where_the_program_is_missing_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SynthesizerError, match=r"apt-get install .*fluidsynth fluid-soundfont-gm"):
        Synthesizer.find()


def test_a_sound_font_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "fluidsynth"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ETUDE_SOUND_FONT", str(tmp_path / "none.sf2"))
    with pytest.raises(SynthesizerError, match=r"none\.sf2 is not there"):
        Synthesizer.find()


def test_a_synthesizer_that_fails_says_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "fluidsynth"
    program.write_text("#!/bin/sh\necho out of tune >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(SynthesizerError, match="ended with 3: out of tune"):
        Synthesizer(program, tmp_path).play(to_midi(compose(0, length_s=2.0)), 32000)


def test_a_file_that_is_no_sound_font_is_an_error_and_not_silence(synthesizer: Synthesizer, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.sf2"
    wrong.write_bytes(b"RIFF, but no more")
    with pytest.raises(SynthesizerError, match=r"no sound with .*wrong\.sf2: Parameter"):
        Synthesizer(synthesizer.program, wrong).play(to_midi(compose(0, length_s=2.0)), 32000)


def test_the_same_file_gives_the_same_samples(synthesizer: Synthesizer) -> None:
    midi = to_midi(compose(11, level="bands", length_s=4.0))
    first, second = synthesizer.play(midi, 32000), synthesizer.play(midi, 32000)
    assert first.shape[0] == 2
    assert first.shape[1] >= 4 * 32000
    assert np.array_equal(first, second)

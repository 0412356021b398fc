"""The `fluidsynth` program: MIDI in, sound out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
from numpy.typing import NDArray

INSTALL_COMMAND = "apt-get install --no-install-recommends fluidsynth fluid-soundfont-gm"


@dataclass(frozen=True)
class SoundFont:
    """A General MIDI sound font. path: where Debian and its kin put it, by `package`. variable: of the environment,
    names another place.
    """

    path: Path
    package: str
    variable: str


FLUID, MUSESCORE = "FluidR3", "MuseScore General"

SOUND_FONTS = {
    FLUID: SoundFont(Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"), "fluid-soundfont-gm", "ETUDE_SOUND_FONT"),
    MUSESCORE: SoundFont(
        Path("/usr/share/sounds/sf2/MuseScore_General_Full.sf2"),
        "musescore-general-soundfont-lossless",
        "ETUDE_SOUND_FONT_MUSESCORE",
    ),
}
"""Both MIT, parts of the second CC0 or in the public domain."""

# Far below what clips, whatever plays; the sound is levelled afterwards, and float samples lose nothing.
_GAIN = 0.4
_SILENCE = 1e-5


class SynthesizerError(RuntimeError):
    """The synthesizer or its sound font isn't there, or it failed; the message says what to do."""


@dataclass(frozen=True)
class Synthesizer:
    """program: of FluidSynth 2. sound_font: a General MIDI one."""

    program: Path
    sound_font: Path

    @classmethod
    def find(cls, name: str = FLUID) -> Synthesizer:
        """The installed one, with the sound font of this name in SOUND_FONTS.

        Raises SynthesizerError where something is missing.
        """
        program = shutil.which("fluidsynth")
        if program is None:
            raise SynthesizerError(f"fluidsynth is not installed: {INSTALL_COMMAND}")
        font = SOUND_FONTS[name]
        sound_font = Path(os.environ.get(font.variable) or font.path)
        if not sound_font.is_file():
            command = f"apt-get install --no-install-recommends fluidsynth {font.package}"
            raise SynthesizerError(f"the sound font {sound_font} is not there: {command}")
        return cls(Path(program), sound_font)

    def play(self, midi: mido.MidiFile, sample_rate: int, *, reverb: bool = True) -> NDArray[np.float32]:
        """The sound of a MIDI file, which has notes: stereo [2, samples], and some seconds beyond its end.

        reverb: as much as the file asks for; without it there is none, whatever the sound font adds of its own.

        The same file gives the same samples. Raises SynthesizerError.
        """
        with tempfile.TemporaryDirectory(prefix="etude-") as folder:
            score = Path(folder) / "score.mid"
            midi.save(score)
            command: list[str | Path] = [self.program, "-n", "-i", "-q", "-g", f"{_GAIN}", "-r", f"{sample_rate}"]
            # Only the instruments that play are read from the sound font, and no other font steps in for it.
            command += ["-o", "synth.dynamic-sample-loading=1", "-o", "synth.default-soundfont="]
            command += ["-o", "synth.chorus.active=0", "-o", f"synth.reverb.active={reverb:d}"]
            command += ["-F", "-", "-T", "raw", "-O", "float", "-E", "cpu", self.sound_font, score]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
        complaint = done.stderr.decode(errors="replace").strip() or "it says nothing"
        if done.returncode != 0:
            raise SynthesizerError(f"fluidsynth ended with {done.returncode}: {complaint}")
        samples: NDArray[np.float32] = np.frombuffer(done.stdout, dtype=np.float32).reshape(-1, 2).T
        # Without a sound font that it can read, it goes on in silence, and calls that a success.
        if np.abs(samples).max(initial=0.0) < _SILENCE:
            raise SynthesizerError(f"fluidsynth made no sound with {self.sound_font}: {complaint}")
        return samples

"""What the étude's tests share."""

from __future__ import annotations

import pytest

from etude.sound.fluidsynth import INSTALL_COMMAND, Synthesizer, SynthesizerError
from tests.programs import skip_without


@pytest.fixture(scope="session")
def synthesizer() -> Synthesizer:
    """The installed one; skips where there is none."""
    try:
        return Synthesizer.find()
    except SynthesizerError:
        skip_without("fluidsynth and its sound font", INSTALL_COMMAND)

"""What the étude's tests share."""

from __future__ import annotations

import pytest

from etude.sound.fluidsynth import Synthesizer, SynthesizerError


@pytest.fixture(scope="session")
def synthesizer() -> Synthesizer:
    """The installed one, or a skip that says how to install it."""
    try:
        return Synthesizer.find()
    except SynthesizerError as error:
        pytest.skip(str(error))

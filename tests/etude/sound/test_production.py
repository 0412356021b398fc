from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from etude.score.compose import compose
from etude.sound.fluidsynth import FLUID, MUSESCORE, SOUND_FONTS, Synthesizer
from etude.sound.loudness import loudness_lufs
from etude.sound.mastering import PEAK
from etude.sound.production import TARGET_LUFS, Production, produce
from etude.sound.render import SAMPLE_RATE


def test_productions_differ_and_a_piece_s_own_is_always_the_same() -> None:
    drawn = [Production.draw(seed) for seed in range(400)]
    assert drawn == [Production.draw(seed) for seed in range(400)]
    fonts = Counter(production.sound_font for production in drawn)
    assert set(fonts) == set(SOUND_FONTS)
    assert min(fonts.values()) > 120
    assert 40 < sum(production.room is None for production in drawn) < 140


def test_a_produced_piece_is_at_its_loudness_and_has_no_dc(synthesizer: Synthesizer) -> None:
    """Whichever sound font a piece asks for, here it gets the one that is installed."""
    fonts = {FLUID: synthesizer, MUSESCORE: synthesizer}
    for seed in range(4):
        piece = compose(seed, level="bands", length_s=4.0)
        sound = produce(piece, Production.draw(seed), fonts)
        assert sound.shape == (4 * SAMPLE_RATE,)
        assert np.abs(sound).max() <= PEAK + 1e-6
        assert abs(float(sound.mean())) < 2e-3
        if (piece.plan.opening, piece.plan.ending) == ("at once", "cut"):
            assert loudness_lufs(sound, SAMPLE_RATE) == pytest.approx(TARGET_LUFS, abs=1.0)


def test_the_sound_font_s_attributes_are_in_json_s_types() -> None:
    attributes = Production.draw(0).attributes()
    assert attributes["sound_font"] in SOUND_FONTS
    assert isinstance(attributes["reverb_s"], float)
    assert not math.isnan(attributes["reverb_s"])

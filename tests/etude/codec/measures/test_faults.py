from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from etude.codec.crops import Crops
from etude.codec.initialise import new_codec
from etude.codec.measures.faults import Faults, line_in_silence_dbfs, pieces_restored
from etude.codec.measures.levels import largest_dc
from etude.codec.measures.lines import comb_share, loudest_line_dbfs
from etude.codec.quantiser import fit
from tests.etude.codec.conftest import TINY, notes

RATE = 32000


def sine(frequency_hz: float, seconds: float = 4.0, amplitude: float = 0.1) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency_hz * torch.arange(round(seconds * RATE)) / RATE)


def noise(seconds: float = 4.0) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def test_noise_has_a_tenth_of_its_energy_on_the_comb() -> None:
    assert comb_share(noise(), RATE, 50) == pytest.approx(0.09, abs=0.02)


def test_noise_that_repeats_with_every_frame_is_all_comb() -> None:
    assert comb_share(noise(0.02).repeat(200), RATE, 50) == pytest.approx(1, abs=0.01)


def test_a_line_is_on_the_comb_or_beside_it_and_what_is_low_is_not_heard() -> None:
    assert comb_share(sine(3000), RATE, 50) == pytest.approx(1, abs=0.01)
    assert comb_share(sine(3025), RATE, 50) == pytest.approx(0, abs=0.01)
    assert comb_share(sine(3025) + sine(1000, amplitude=0.9), RATE, 50) == pytest.approx(0, abs=0.01)
    assert comb_share(torch.zeros(RATE), RATE, 50) is None


def test_the_loudest_line_has_the_level_of_a_sine() -> None:
    assert loudest_line_dbfs(sine(1000, amplitude=1.0), RATE) == pytest.approx(0, abs=0.1)
    assert loudest_line_dbfs(sine(1000, amplitude=0.001) + 0.1, RATE) == pytest.approx(-60, abs=0.5)
    assert loudest_line_dbfs(torch.zeros(100), RATE) == -200


def test_dc_is_found_under_tones_and_wherever_it_is() -> None:
    assert largest_dc(sine(41, amplitude=0.8), RATE) < 1e-4
    some = sine(41)
    some[2 * RATE : 3 * RATE] -= 0.05
    assert largest_dc(some, RATE) == pytest.approx(0.05, abs=0.01)


def test_loudness_spreads_from_the_quietest_to_the_loudest() -> None:
    found = Faults.of_sounds([noise(), 0.5 * noise()], RATE)
    assert found.loudness_spread_lu == pytest.approx(6.02, abs=0.01)


def test_silence_has_neither_comb_nor_loudness() -> None:
    assert Faults.of_sounds([torch.zeros(RATE)], RATE) == Faults(None, 0.0, None, None)


def test_what_a_codec_restores_has_faults_of_its_own(shards: Path) -> None:
    codec = new_codec(TINY, notes(4, RATE), seed=0).eval()
    with torch.no_grad():
        latents = codec.encoder(notes(4, RATE)[:, None]).transpose(1, 2).flatten(0, 1)
        fit(codec.quantizer, latents, torch.Generator().manual_seed(0))
    crops = Crops(shards, sample_rate=RATE, num_samples=RATE)
    sounds, restored = pieces_restored(codec, crops, pieces=3)
    assert [len(each) for each in restored] == [RATE] * 3
    assert Faults.of_sounds(sounds, RATE) != Faults.of_sounds(restored, RATE)
    assert -200 <= line_in_silence_dbfs(codec, crops) < 0

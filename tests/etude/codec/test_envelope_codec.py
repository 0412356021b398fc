"""The codec that `etude.codec.start` makes: what each of its parts adds, and that the others stay what they were."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import EncodecModel

from etude.codec.energies import before_lstm, groups_of, write_energies
from etude.codec.envelope import BANDS, Envelope, log_bands
from etude.codec.filling import filled_groups, levels, write_filling
from etude.codec.head import Head, train_head, write_head
from etude.codec.initialise import new_codec
from etude.codec.spectra import FLOOR
from etude.codec.start import main
from tests.etude.codec.conftest import TINY, notes

COMPONENTS = 8
GEOMETRY = TINY.model_copy(update={"latent_width": 12})


@pytest.fixture
def codec() -> EncodecModel:
    return new_codec(GEOMETRY, notes(8, 32000), seed=0, components=COMPONENTS).eval()


def sine(frequency_hz: float, amplitude: float = 0.1) -> Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency_hz / 32000 * torch.arange(32000))[None]


def transform_latents(codec: EncodecModel, sound: Tensor) -> Tensor:
    latents: Tensor = codec.encoder(sound[:, None])[:, :COMPONENTS]
    return latents


def test_every_band_is_in_one_group() -> None:
    assert [band for group in groups_of(64, 32) for band in group] == list(range(64))
    assert [len(group) for group in groups_of(64, 32)] == [1] * 16 + [3] * 16
    assert [band for group in filled_groups(64) for band in group] == list(range(12, 64))


@torch.no_grad()
def test_energies_are_steady_where_the_transform_turns_and_grow_with_the_level(codec: EncodecModel) -> None:
    before = transform_latents(codec, sine(437))
    write_energies(codec, COMPONENTS)
    torch.testing.assert_close(transform_latents(codec, sine(437)), before, atol=1e-3, rtol=1e-3)
    quiet, loud = (before_lstm(codec, sine(437, level))[0, 2 * COMPONENTS :, 5:-5] for level in (0.01, 0.1))
    strongest = loud.mean(1).argmin()
    assert loud[strongest].std() < 0.2 * loud[strongest].mean().abs()
    assert loud[strongest].mean() < 3 * quiet[strongest].mean() < 0
    assert before[0, :, 5:-5].std(1).max() > before[0, :, 5:-5].mean(1).abs().max()


def test_a_transform_that_takes_all_channels_leaves_none_for_energies() -> None:
    codec = new_codec(TINY.model_copy(update={"latent_width": 32}), notes(2, 12800), seed=0)
    with pytest.raises(ValueError, match="no channels"):
        write_energies(codec, 32)


def test_bands_follow_the_level_in_as_many_frames_as_there_are() -> None:
    sound = torch.randn(2, 6400, generator=torch.Generator().manual_seed(0))
    bands = log_bands(sound, 32000, 640)
    assert bands.shape == (2, 10, BANDS)
    louder = torch.log(torch.exp(bands) - FLOOR)
    torch.testing.assert_close(torch.log(torch.exp(log_bands(2 * sound, 32000, 640)) - FLOOR), louder + math.log(2))
    assert torch.allclose(log_bands(torch.zeros(1, 6400), 32000, 640), torch.tensor(FLOOR).log(), atol=1e-4)


def test_an_envelope_has_its_latents_in_order_of_variance() -> None:
    bands = log_bands(notes(8, 32000), 32000, 640).flatten(0, 1)
    envelope = Envelope.of_bands(bands, BANDS, 7)
    variances = envelope.latents(bands).var(0, correction=0)
    assert float(variances.sum()) == pytest.approx(7, rel=1e-3)
    assert (variances.diff() <= 1e-6).all()
    torch.testing.assert_close(Envelope.of_bands(bands, 3, 7).latents(bands), envelope.latents(bands)[:, :3])


def test_a_head_that_is_written_into_an_encoder_is_what_was_trained_and_the_transform_stays(
    codec: EncodecModel,
) -> None:
    write_energies(codec, COMPONENTS)
    sound = notes(12, 32000, seed=1)
    with torch.no_grad():
        before = transform_latents(codec, sound)
        hidden = before_lstm(codec, sound).transpose(1, 2)
    bands = log_bands(sound, 32000, 640)
    wanted = Envelope.of_bands(bands.flatten(0, 1), 4, 4).latents(bands)
    torch.manual_seed(0)
    head = Head(hidden.shape[-1], 2 * COMPONENTS, 4)
    head.begin(hidden, wanted)
    lines: list[str] = []
    untrained = train_head(head, hidden, wanted, steps=1, seed=0, minutes=None, log=lines.append)
    trained = train_head(head, hidden, wanted, steps=50, seed=0, minutes=None, log=lines.append)
    assert trained < 0.5
    assert trained < untrained
    assert len(lines) == 2
    write_head(codec, head, COMPONENTS)
    with torch.no_grad():
        latents = codec.encoder(sound[:, None]).transpose(1, 2)
        torch.testing.assert_close(latents[..., COMPONENTS:], head(hidden), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(latents[..., :COMPONENTS].transpose(1, 2), before, atol=1e-4, rtol=1e-4)


def test_training_ends_when_its_time_is_up() -> None:
    head = Head(8, 4, 2)
    hidden, wanted = torch.randn(4, 20, 8), torch.randn(4, 20, 2)
    lines: list[str] = []
    assert train_head(head, hidden, wanted, steps=1_000_000, seed=0, minutes=0.0, log=lines.append) > 0
    assert lines == []


@torch.no_grad()
def test_what_is_filled_in_is_as_loud_as_the_envelope_says(codec: EncodecModel) -> None:
    loudness = torch.linspace(-6, -2, 50).repeat_interleave(640)
    generator = torch.Generator().manual_seed(0)
    sound = torch.exp(loudness) * torch.randn(4, 32000, generator=generator)
    wanted = levels(codec, sound, GEOMETRY.ratios[0])
    # Latents of which the last ones tell the level.
    latents = torch.zeros(4, 50, 12)
    latents[..., COMPONENTS] = torch.linspace(-6, -2, 50)

    def heard() -> Tensor:
        restored: Tensor = codec.decoder(latents.transpose(1, 2))[:, 0]
        return levels(codec, restored, GEOMETRY.ratios[0])

    silent = heard()
    write_filling(codec, latents, wanted, components=COMPONENTS, seed=0)
    filled = heard()
    assert (silent < wanted - 2).float().mean() > 0.9
    inner = (filled - wanted)[:, 5:-5]
    assert inner.mean().abs() < 0.5
    assert inner.abs().mean() < 1


@torch.no_grad()
def test_more_groups_than_channels_are_refused(codec: EncodecModel) -> None:
    with pytest.raises(ValueError, match="more than there are channels"):
        write_filling(codec, torch.zeros(1, 4, 12), torch.zeros(1, 3, 60), components=COMPONENTS, seed=0)


def test_a_codec_is_made_from_a_folder_with_one_command(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "codec"
    options = f"--filters 4 --components 8 --envelope 4 --crops 48 --crop-s 1 --steps 5 --data {shards} --out {out}"
    main(options.split())
    codec = EncodecModel.from_pretrained(out).eval()
    assert codec.config.hidden_size == 12
    sound = notes(4, 32000)
    with torch.no_grad():
        codes = codec.encode(sound[:, None]).audio_codes[0]
    assert len(codes[:, 0].unique()) > 100
    weights = codec.state_dict()
    assert all(torch.equal(each, each.bfloat16().float()) for each in weights.values() if each.is_floating_point())
    with pytest.raises(SystemExit):
        main(options.split())

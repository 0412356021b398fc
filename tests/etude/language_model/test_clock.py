from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MusicgenForConditionalGeneration

from etude.language_model.batches import Batches
from etude.language_model.clock import BEATS_PER_BAR, REACH, dial, likeness, set_clock
from etude.language_model.origin import Origin
from etude.language_model.trainee import Trainee
from etude.score.exact import BEATS
from tests.etude.language_model.conftest import VOCAB
from tests.tiny import tiny_checkpoint

WIDTH, HEADS = 256, 4
TEXTS_TOKENS = 6


def cosine(frame: int, tempo: int, beat: int) -> float:
    """Slow and obvious: 1 on this beat of a bar of four, whose beats have so many frames."""
    return math.cos(2 * math.pi * (frame / tempo - beat) / BEATS_PER_BAR)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clock") / "checkpoint"
    return tiny_checkpoint(
        folder, vocab=VOCAB, width=WIDTH, heads=HEADS, ffn=64, text_width=24, ratios=(5, 2), codec_width=8
    )


@pytest.fixture
def model(roomy: Path) -> MusicgenForConditionalGeneration:
    return Origin(roomy, "tiny", torch.float32).load(dropout=0.0)


@pytest.fixture
def readout() -> Tensor:
    """A state says the tempo by its first numbers."""
    return torch.eye(len(BEATS), WIDTH)


def music(num_columns: int) -> Tensor:
    return torch.randint(VOCAB, (2, 4, num_columns), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tempo", [BEATS[0], 25, BEATS[-1]])
def test_sinusoids_add_up_to_a_bar_s_cosine_for_as_long_as_it_reaches(
    model: MusicgenForConditionalGeneration, tempo: int
) -> None:
    found = dial(WIDTH)
    positions = model.decoder.model.decoder.embed_positions.weights[:REACH]
    for beat in range(BEATS_PER_BAR):
        told = positions[:, found.columns] @ found.sums[beat, BEATS.index(tempo)]
        wanted = torch.tensor([cosine(frame, tempo, beat) for frame in range(REACH)])
        assert float((told - wanted).square().mean()) < 0.002
        assert float((told - wanted).abs().max()) < 0.3


@torch.no_grad()
@pytest.mark.parametrize("tempo", [18, 25, 48])
def test_each_head_looks_at_the_last_token_around_its_own_beat(
    model: MusicgenForConditionalGeneration, readout: Tensor, tempo: int
) -> None:
    columns = music(400)
    set_clock(model, readout, columns)
    model.decoder.set_attn_implementation("eager")
    states = torch.zeros(2, TEXTS_TOKENS, WIDTH)
    states[0, -1, BEATS.index(tempo)] = 1
    seen = model.decoder.model(
        columns.flatten(0, 1), encoder_hidden_states=states, output_attentions=True, use_cache=False
    ).cross_attentions[0]
    for beat in range(BEATS_PER_BAR):
        wanted = [1 / (1 + 5 * math.exp(2 - 6 * cosine(frame, tempo, beat))) for frame in range(400)]
        off = seen[0, beat, :, -1] - torch.tensor(wanted)
        # What the music is moves the norm's scale, and with it how sure a head is.
        assert float(off.abs().mean()) < 0.06
    # A text that names no tempo sets no clock.
    assert float((seen[1] - 1 / TEXTS_TOKENS).abs().max()) < 0.05


@torch.no_grad()
def test_what_heads_write_is_read_by_nobody_s_leave(model: MusicgenForConditionalGeneration, readout: Tensor) -> None:
    """Each beat has a place in the state that nothing else writes to before the layer's own products."""
    set_clock(model, readout, music(50))
    layer = model.decoder.model.decoder.layers[0]
    [hands] = (
        layer.encoder_attn.out_proj.weight[:, :: WIDTH // HEADS].abs().max(1).values.gt(0.1).nonzero(as_tuple=True)
    )
    assert len(hands) == BEATS_PER_BAR
    assert not layer.self_attn.out_proj.weight[hands].any()
    assert not any(table.weight[:, hands].any() for table in model.decoder.model.decoder.embed_tokens)


def test_training_leaves_silent_what_is_silent(
    model: MusicgenForConditionalGeneration, readout: Tensor, batches: Batches
) -> None:
    set_clock(model, readout, music(50))
    trainee = Trainee(model, trains_text=False)
    before = {name: weight.detach().clone() for name, weight in trainee.named_parameters()}
    optimizer = torch.optim.AdamW([each for each in trainee.parameters() if each.requires_grad], lr=0.1)
    batch = batches.batch(0, 4)
    trainee(replace(batch, unheard=torch.zeros_like(batch.unheard)))[0].sum().backward()
    optimizer.step()
    silent = dial(WIDTH).columns
    tables = [table.weight for table in model.decoder.model.decoder.embed_tokens]
    out = model.decoder.model.decoder.layers[0].self_attn.out_proj.weight
    assert not out[silent].any()
    assert not any(table[:, silent].any() for table in tables)
    learned = [name for name, weight in trainee.named_parameters() if (weight != before[name]).any()]
    assert any("embed_tokens" in name for name in learned)
    assert any("layers.0.self_attn.out_proj" in name for name in learned)


def test_tempos_are_as_alike_as_their_bars() -> None:
    alike = likeness()
    torch.testing.assert_close(alike.diagonal(), torch.ones(len(BEATS)))
    slow = sum(
        cosine(frame, 20, 0) * cosine(frame, 21, 0) + cosine(frame, 20, 1) * cosine(frame, 21, 1)
        for frame in range(REACH)
    )
    assert float(alike[BEATS.index(20), BEATS.index(21)]) == pytest.approx(0.99 * slow / REACH, abs=1e-4)
    torch.linalg.cholesky(alike)


def test_a_decoder_without_room_is_told_what_a_clock_needs(tmp_path: Path, readout: Tensor) -> None:
    folder = tiny_checkpoint(
        tmp_path / "narrow", vocab=VOCAB, width=WIDTH, heads=8, ffn=64, text_width=24, ratios=(5, 2), codec_width=8
    )
    model = Origin(folder, "tiny", torch.float32).load(dropout=0.0)
    with pytest.raises(ValueError, match=r"4 heads of 45 values at least, not 8 of 32"):
        set_clock(model, readout, music(50))

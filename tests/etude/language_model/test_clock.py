from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MusicgenForConditionalGeneration

from etude.language_model import pulse
from etude.language_model.batches import Batches
from etude.language_model.clock import HEADS, REACH, dial, likeness, places_of, set_clock
from etude.language_model.key_head import key_heads, set_key_head
from etude.language_model.origin import Origin
from etude.language_model.pulse import set_pulse
from etude.language_model.recipe import Recipe
from etude.language_model.trainee import Trainee
from etude.language_model.trainer import _groups
from etude.score.exact import BEATS
from tests.etude.language_model.conftest import VOCAB
from tests.tiny import tiny_checkpoint

WIDTH = 256
TEXTS_TOKENS = 6


def cosine(frame: int, tempo: int, beats: int, surest: float) -> float:
    """Slow and obvious: 1 on the beat that is surest, of so many, each of so many frames."""
    return math.cos(2 * math.pi * (frame / tempo - surest) / beats)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clock") / "checkpoint"
    return tiny_checkpoint(
        folder, vocab=VOCAB, width=WIDTH, heads=len(HEADS), ffn=256, text_width=24, ratios=(5, 2), codec_width=8
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
def test_sinusoids_add_up_to_a_head_s_cosine_for_as_long_as_it_reaches(
    model: MusicgenForConditionalGeneration, tempo: int
) -> None:
    found = dial(WIDTH)
    positions = model.decoder.model.decoder.embed_positions.weights
    for sums, (beats, surest) in zip(found.sums, HEADS, strict=True):
        frames = range(REACH[beats])
        told = positions[: len(frames), found.columns] @ sums[BEATS.index(tempo)]
        wanted = torch.tensor([cosine(frame, tempo, beats, surest) for frame in frames])
        assert float((told - wanted).square().mean()) < 0.02
        assert float((told - wanted).abs().max()) < 0.6


@torch.no_grad()
@pytest.mark.parametrize("tempo", [18, 25, 48])
def test_each_head_looks_at_the_last_token_as_its_cosine_turns(
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
    for head, (beats, surest) in enumerate(HEADS):
        scores = [2.5 * cosine(frame, tempo, beats, surest) + 2.3 for frame in range(400)]
        wanted = torch.tensor([1 / (1 + 5 * math.exp(-score)) for score in scores])
        # What the music is moves the norm's scale, and with it how sure a head is.
        assert float((seen[0, head, :, -1] - wanted).abs().mean()) < 0.05
    # A text that names no tempo sets no clock.
    assert float((seen[1] - 1 / TEXTS_TOKENS).abs().max()) < 0.05


@torch.no_grad()
def test_what_heads_write_is_read_by_nobody_s_leave(model: MusicgenForConditionalGeneration, readout: Tensor) -> None:
    """Each beat has a place in the state that nothing else writes to before the layer's own products."""
    set_clock(model, readout, music(50))
    layer = model.decoder.model.decoder.layers[0]
    [hands] = (
        layer.encoder_attn.out_proj.weight[:, :: WIDTH // len(HEADS)].abs().max(1).values.gt(0.1).nonzero(as_tuple=True)
    )
    assert len(hands) == len(HEADS)
    assert not layer.self_attn.out_proj.weight[hands].any()
    assert not any(table.weight[:, hands].any() for table in model.decoder.model.decoder.embed_tokens)


@torch.no_grad()
def test_a_pulse_is_the_beat_s_phase_and_nothing_where_no_tempo_is_said(
    model: MusicgenForConditionalGeneration, readout: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_STEPS", 400)
    torch.manual_seed(0)
    columns, tempos = music(200).repeat(6, 1, 1), (18, 22, 26, 33, 41, None)
    set_clock(model, readout, columns[:2])
    states, phases = torch.zeros(12, TEXTS_TOKENS, WIDTH), torch.zeros(12, 200, 2)
    for i, tempo in enumerate(2 * tempos):
        if tempo is not None:
            states[i, -1, BEATS.index(tempo)] = 1
            turns = 2 * math.pi * torch.arange(200) / tempo
            phases[i] = torch.stack([turns.cos(), turns.sin()], 1)
    mask = torch.ones(12, TEXTS_TOKENS, dtype=torch.long)
    missed = set_pulse(model, columns, states, mask, phases)
    assert missed < 0.25
    found = model.decoder.model(
        columns.flatten(0, 1), encoder_hidden_states=states, encoder_attention_mask=mask, output_hidden_states=True
    ).hidden_states[1]
    _, places, _ = places_of(model.decoder.model.decoder)
    told = found[..., places] / found[:10, :, places].std() * phases.std()
    for i, tempo in enumerate(2 * tempos):
        if tempo is None:
            assert float(told[i].square().mean()) < 0.1
        else:
            both = torch.stack([told[i].flatten(), phases[i].flatten()])
            assert float(both.corrcoef()[0, 1]) > 0.9


def test_a_pulse_that_is_set_again_takes_the_same_units(
    model: MusicgenForConditionalGeneration, readout: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_STEPS", 2)
    columns = music(50)
    set_clock(model, readout, columns)
    texts, mask = torch.zeros(2, 1, WIDTH), torch.ones(2, 1, dtype=torch.long)
    reads_clock = []
    for _ in range(2):
        set_pulse(model, columns, texts, mask, torch.ones(2, 50, 2))
        reads_clock.append(model.decoder.model.decoder.layers[0].fc1.weight.ne(0).sum(1) < 10)
    assert torch.equal(*reads_clock)


def test_training_leaves_clock_pulse_and_key_head_as_they_are(
    model: MusicgenForConditionalGeneration, readout: Tensor, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = music(50)
    set_clock(model, readout, columns)
    monkeypatch.setattr(pulse, "_STEPS", 2)
    set_pulse(model, columns, torch.zeros(2, 1, WIDTH), torch.ones(2, 1, dtype=torch.long), torch.ones(2, 50, 2))
    set_key_head(model, torch.ones(12, WIDTH), columns)
    trainee = Trainee(model, trains_text=False)
    before = {name: weight.detach().clone() for name, weight in trainee.named_parameters()}
    optimizer = torch.optim.AdamW(_groups(trainee, Recipe()), lr=0.1)
    batch = batches.batch(0, 4)
    trainee(replace(batch, unheard=torch.zeros_like(batch.unheard)))[0].sum().backward()
    optimizer.step()
    decoder = model.decoder.model.decoder
    hands, places, _ = places_of(decoder)
    silent = [*dial(WIDTH).columns.tolist(), *hands, *places]
    assert not decoder.layers[0].self_attn.out_proj.weight[silent].any()
    assert not any(table.weight[:, silent].any() for table in decoder.embed_tokens)
    attention = decoder.layers[1].encoder_attn
    says_key = key_heads(attention)
    assert int(says_key.sum()) == WIDTH // len(HEADS)
    assert not attention.q_proj.weight[says_key].any()
    assert attention.v_proj.weight[says_key].ne(0).any(1).sum() == 12
    units = before["decoder.model.decoder.layers.0.fc1.weight"].ne(0).sum(1) < 10
    assert int(units.sum()) == 96
    kept = {
        "layers.0.encoder_attn.": slice(None),
        "layers.0.encoder_attn_layer_norm.": slice(None),
        "layers.0.final_layer_norm.": slice(None),
        "layers.0.fc1.weight": units,
        "layers.0.fc2.weight": places,
        "layers.1.encoder_attn.v_proj": says_key,
        "text_projection.": slice(None),
    }
    for name, weight in trainee.named_parameters():
        for part, rows in kept.items():
            if part in name:
                assert torch.equal(weight[rows], before[name][rows]), name
    learned = [name for name, weight in trainee.named_parameters() if (weight != before[name]).any()]
    for part in (
        "embed_tokens.0",
        "layers.0.self_attn.out_proj",
        "layers.0.fc1",
        "layers.0.fc2",
        "layers.1.encoder_attn",
    ):
        assert any(part in name for name in learned), part


def test_tempos_are_as_alike_as_their_bars() -> None:
    alike = likeness()
    torch.testing.assert_close(alike.diagonal(), torch.ones(len(BEATS)))
    reach = REACH[4]
    slow = sum(cosine(frame, 20, 4, beat) * cosine(frame, 21, 4, beat) for frame in range(reach) for beat in (0, 1))
    assert float(alike[BEATS.index(20), BEATS.index(21)]) == pytest.approx(0.99 * slow / reach, abs=1e-4)
    torch.linalg.cholesky(alike)


def test_a_decoder_without_room_is_told_what_a_clock_needs(tmp_path: Path, readout: Tensor) -> None:
    folder = tiny_checkpoint(
        tmp_path / "narrow", vocab=VOCAB, width=WIDTH, heads=8, ffn=256, text_width=24, ratios=(5, 2), codec_width=8
    )
    model = Origin(folder, "tiny", torch.float32).load(dropout=0.0)
    with pytest.raises(ValueError, match=r"4 heads of 61 values at least, not 8 of 32"):
        set_clock(model, readout, music(50))

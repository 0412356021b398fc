from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import MusicgenForConditionalGeneration

from etude.language_model.clock import dial
from etude.language_model.key_head import key_heads, set_key_head
from etude.language_model.origin import Origin
from tests.etude.language_model.conftest import VOCAB
from tests.tiny import tiny_checkpoint

WIDTH = 256
COLUMNS = torch.randint(VOCAB, (2, 4, 40), generator=torch.Generator().manual_seed(0))


def load(folder: Path, **shape: int) -> MusicgenForConditionalGeneration:
    checkpoint = tiny_checkpoint(folder, vocab=VOCAB, ffn=64, text_width=24, ratios=(5, 2), codec_width=8, **shape)
    return Origin(checkpoint, "tiny", torch.float32).load(dropout=0.0)


@torch.no_grad()
def test_the_head_adds_what_is_read_of_the_mean_of_all_tokens_in_every_frame(tmp_path: Path) -> None:
    model = load(tmp_path / "checkpoint", width=WIDTH, heads=4)
    attention = model.decoder.model.decoder.layers[1].encoder_attn
    readout = torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(1))
    set_key_head(model, readout, COLUMNS)
    heads = key_heads(attention)
    assert int(heads.sum()) == WIDTH // 4
    # The head alone.
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
        weight[~heads] = 0
    states = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(2))
    added = attention(torch.randn(1, 7, WIDTH), key_value_states=states)[0]
    places = dial(WIDTH).columns[:12]
    wanted = readout @ states[0].mean(0)
    scale = added[0, 0, places] / wanted
    torch.testing.assert_close(scale, scale[:1].expand(12), rtol=1e-3, atol=1e-3)
    assert float(scale[0]) > 0
    torch.testing.assert_close(added[0, :, places], added[0, :1, places].expand(7, 12))
    others = torch.ones(WIDTH, dtype=torch.bool)
    others[places] = False
    assert not added[..., others].any()


@torch.no_grad()
def test_of_all_heads_the_one_that_adds_least_is_taken(tmp_path: Path) -> None:
    model = load(tmp_path / "checkpoint", width=WIDTH, heads=4)
    attention = model.decoder.model.decoder.layers[1].encoder_attn
    attention.v_proj.weight[128:192] *= 0.1
    before = attention.v_proj.weight.clone()
    set_key_head(model, torch.ones(12, WIDTH), COLUMNS)
    changed = (attention.v_proj.weight != before).any(1).nonzero()[:, 0]
    assert (int(changed.min()), int(changed.max())) == (128, 191)


@torch.no_grad()
def test_a_second_time_the_same_head_is_taken(tmp_path: Path) -> None:
    model = load(tmp_path / "checkpoint", width=WIDTH, heads=4)
    attention = model.decoder.model.decoder.layers[1].encoder_attn
    set_key_head(model, torch.ones(12, WIDTH), COLUMNS)
    heads = key_heads(attention)
    set_key_head(model, 2 * torch.ones(12, WIDTH), COLUMNS)
    assert torch.equal(key_heads(attention), heads)
    assert float(attention.v_proj.weight[heads].max()) == 2


def test_a_decoder_without_a_second_layer_is_told_so(tmp_path: Path) -> None:
    model = load(tmp_path / "checkpoint", width=WIDTH, heads=4, layers=1)
    with pytest.raises(ValueError, match="needs a second layer"):
        set_key_head(model, torch.ones(12, WIDTH), COLUMNS)

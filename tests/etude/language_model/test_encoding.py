from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import MusicgenForConditionalGeneration

from etude.language_model import encoding
from etude.language_model.code_shards import read_code_clips
from etude.language_model.encoder import CodeEncoder
from etude.language_model.encoding import encode_folder
from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.shards import Clip, read_clips, write_shard
from tests.etude.language_model.test_audio_folder import write_sound


@pytest.fixture
def encoder(model: MusicgenForConditionalGeneration) -> CodeEncoder:
    """Of half a kilohertz."""
    return CodeEncoder(model.audio_encoder)


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """Two shards of two pieces, as `etude.dataset` has them."""
    folder = tmp_path / "rendered"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for first in (0, 2):
        plans = [draw_plan(seed) for seed in (first, first + 1)]
        clips = [
            Clip(draw.integers(-999, 999, 16000).astype(np.int16), describe_often(plan, 2), plan.attributes())
            for plan in plans
        ]
        write_shard(folder, range(first, first + 2), clips)
    return folder


def test_rendered_pieces_keep_their_descriptions_and_attributes(
    rendered: Path, encoder: CodeEncoder, tmp_path: Path
) -> None:
    encode_folder(rendered, encoder, tmp_path / "codes")
    encoded = list(read_code_clips(tmp_path / "codes"))
    for codes, clip in zip(encoded, read_clips(rendered), strict=True):
        assert codes.codes.shape == (4, 25)
        assert codes.texts == tuple(description.text for description in clip.descriptions)
        assert codes.attributes == clip.attributes


def test_only_what_is_missing_is_encoded(
    rendered: Path, encoder: CodeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_folder(rendered, encoder, tmp_path / "codes")
    (tmp_path / "codes" / "00000002-00000003.npy").unlink()
    made = []
    write = encoding.write_code_shard
    monkeypatch.setattr(encoding, "write_code_shard", lambda *given: made.append(given[1]) or write(*given))
    encode_folder(rendered, encoder, tmp_path / "codes")
    assert made == ["00000002-00000003"]


def test_a_long_file_is_cut_and_its_rest_kept_if_it_is_a_second(encoder: CodeEncoder, tmp_path: Path) -> None:
    for name, seconds in (("long.wav", 61.5), ("short.wav", 0.2), ("rest.wav", 30.5)):
        write_sound(tmp_path / "in" / name, rate=1000, seconds=seconds)
        (tmp_path / "in" / name).with_suffix(".txt").write_text(name)
    encode_folder(tmp_path / "in", encoder, tmp_path / "codes")
    found = [
        (clip.texts[0], clip.attributes["start_s"], clip.codes.shape[1]) for clip in read_code_clips(tmp_path / "codes")
    ]
    assert found == [
        ("long.wav", 0, 1500),
        ("long.wav", 30, 1500),
        ("long.wav", 60, 75),
        ("rest.wav", 0, 1500),
        ("short.wav", 0, 10),
    ]


def test_codes_of_sound_that_changed_are_not_mixed_with_the_new(encoder: CodeEncoder, tmp_path: Path) -> None:
    write_sound(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "a.txt").write_text("rain")
    encode_folder(tmp_path / "in", encoder, tmp_path / "codes")
    (tmp_path / "in" / "a.txt").write_text("no rain")
    with pytest.raises(ValueError, match="codes of sound that is not in"):
        encode_folder(tmp_path / "in", encoder, tmp_path / "codes")

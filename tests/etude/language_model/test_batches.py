from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MusicgenForConditionalGeneration, PreTrainedTokenizerBase

from deployments.language_model.config import DecoderConfig
from etude.language_model.batches import IGNORED, Batches, inputs_of
from etude.language_model.code_shards import CodeClip
from tests.etude.language_model.conftest import TEXTS, random_clips


def slow_columns(codes: np.ndarray, start: int, num_frames: int, *, stops: bool) -> np.ndarray:
    """Code by code, as the delay pattern is told in words. Mono, four codebooks."""
    columns = np.full((4, num_frames + 3), IGNORED)
    for column in range(num_frames + 3):
        for codebook in range(4):
            frame = column - codebook
            is_there = frame >= 0 and start + frame < codes.shape[1] and not (stops and frame >= num_frames)
            if is_there:
                columns[codebook, column] = codes[codebook, start + frame]
    return columns


def test_columns_are_the_delay_pattern(tokenizer: PreTrainedTokenizerBase, config: DecoderConfig) -> None:
    clip = random_clips((20,))[0]
    batches = Batches([clip], tokenizer, config, num_frames=8)
    candidates = {
        slow_columns(clip.codes, start, 8, stops=stops).tobytes(): (start, stops)
        for start in range(10)
        for stops in (False, True)
    }
    labels = batches.batch(0, 200).labels.numpy()
    assert {candidates[np.ascontiguousarray(row).tobytes()] for row in labels} == set(candidates.values())


def test_a_piece_that_ends_early_ends_in_nothing_to_foresee(
    tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    clip = random_clips((5,))[0]
    labels = Batches([clip], tokenizer, config, num_frames=8).batch(0, 3).labels
    assert labels.shape == (3, 4, 8)  # no column that nobody has
    np.testing.assert_array_equal(labels[0].numpy(), slow_columns(clip.codes, 0, 8, stops=False)[:, :8])


def test_what_is_read_is_what_was_foreseen_a_column_before(
    model: MusicgenForConditionalGeneration, batches: Batches
) -> None:
    """As transformers shifts its labels, and as its own delay pattern has them."""
    labels = batches.batch(0, 4).labels
    read = inputs_of(labels, pad_token=32)
    assert (read[:, :, 0] == 32).all()
    shifted = labels[:, :, :-1]
    assert torch.equal(read[:, :, 1:], shifted.masked_fill(shifted == IGNORED, 32))

    clip = random_clips((12,))[0]
    _, pattern = model.decoder.build_delay_pattern_mask(
        torch.from_numpy(clip.codes[:, :1].astype(np.int64)) * 0 + 32, pad_token_id=32, max_length=16
    )
    # Where its pattern leaves nothing to foresee, neither do we; its column 0 is the start.
    nothing = slow_columns(clip.codes, 0, 12, stops=True) == IGNORED
    np.testing.assert_array_equal((pattern == 32)[:, 1:].numpy(), nothing)


def test_stereo_codebooks_are_delayed_in_pairs(tokenizer: PreTrainedTokenizerBase) -> None:
    config = DecoderConfig(8, 2, 32, 16, 1, 1, 16, 16)
    labels = Batches(random_clips((20,), codebooks=8), tokenizer, config, num_frames=8).beginnings(0, 1).labels[0]
    first = [int((row == IGNORED).sum()) for row in labels]
    assert first == [0, 0, 1, 1, 2, 2, 3, 3]


def test_every_second_of_sound_is_as_likely_as_any_other(
    tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    short, long = (CodeClip(np.full((4, n), i, np.int16), TEXTS[:1]) for i, n in enumerate((10, 90)))
    labels = Batches([short, long], tokenizer, config, num_frames=8).batch(0, 1000).labels
    assert 0.85 < float(labels[:, 0, 0].double().mean()) < 0.95


def test_a_step_is_the_same_every_time_and_unlike_every_other(batches: Batches) -> None:
    def same(a: tuple[int, int], b: tuple[int, int]) -> bool:
        one, other = (batches.batch(step, 4, process) for step, process in (a, b))
        return one.labels.shape == other.labels.shape and torch.equal(one.labels, other.labels)

    assert same((3, 0), (3, 0))
    assert not same((3, 0), (4, 0))
    assert not same((3, 0), (3, 1))


def test_texts_go_with_their_clips_and_are_dropped_as_often_as_asked(
    tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    texts = (("piano", "slow piano"), ("drums", "fast drums"), ("flute", "sad flute"))
    clips = [CodeClip(np.full((4, 12), number, dtype=np.int16), said) for number, said in enumerate(texts)]
    batches = Batches(clips, tokenizer, config, num_frames=9, text_dropout=0.3)
    seen = set()
    unheard = 0
    for step in range(60):
        batch = batches.batch(step, 4)
        unheard += int(batch.unheard.sum())
        owners = batch.labels[:, 0, 0].tolist()
        seen |= set(zip(owners, tokenizer.batch_decode(batch.text, skip_special_tokens=True), strict=True))
    assert 0.2 < unheard / 240 < 0.4
    assert seen == {(number, text) for number, said in enumerate(texts) for text in said}


def test_others_texts_come_round_in_a_circle(tokenizer: PreTrainedTokenizerBase, batches: Batches) -> None:
    texts = batches.beginnings(2, 9, texts_of=1).text
    assert [tokenizer.decode(text, skip_special_tokens=True) for text in texts] == [TEXTS[3], TEXTS[0]]


def test_clips_of_another_model_are_refused(tokenizer: PreTrainedTokenizerBase, config: DecoderConfig) -> None:
    with pytest.raises(ValueError, match="4 codebooks, and there are clips with 2"):
        Batches(random_clips((5,), codebooks=2), tokenizer, config, num_frames=8)
    with pytest.raises(ValueError, match="no clips"):
        Batches([], tokenizer, config, num_frames=8)


def test_a_text_of_any_length_is_cut_to_what_the_encoder_knows(
    tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    clip = CodeClip(random_clips((5,))[0].codes, ("piano " * 2000,))
    assert Batches([clip], tokenizer, config, num_frames=8).batch(0, 1).text.shape == (1, 512)


def test_as_many_windows_as_asked_begin_where_their_clip_does(
    tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    clip = random_clips((400,))[0]

    def opening_share(openings: float) -> float:
        batches = Batches([clip], tokenizer, config, num_frames=8, openings=openings)
        labels = batches.batch(0, 400).labels.numpy()
        first = slow_columns(clip.codes, 0, 8, stops=True)[:, :8]
        return float(np.mean([np.array_equal(row[:, :8], first) for row in labels]))

    assert opening_share(0.0) < 0.03
    assert 0.4 < opening_share(0.5) < 0.6
    assert opening_share(1.0) == 1.0


def test_long_windows_are_for_clips_that_fill_them(tokenizer: PreTrainedTokenizerBase, config: DecoderConfig) -> None:
    batches = Batches(random_clips((10, 30, 10)), tokenizer, config, num_frames=8)
    assert len(batches.of_frames(20, filled=True)) == 1
    assert len(batches.of_frames(20)) == 3
    assert len(batches.of_frames(40, filled=True)) == 3  # nobody fills it, so everybody is heard


def test_as_many_windows_as_asked_are_read_with_gaps(tokenizer: PreTrainedTokenizerBase, config: DecoderConfig) -> None:
    def missed(forgetting: float) -> torch.Tensor:
        batches = Batches(random_clips((60,)), tokenizer, config, num_frames=50, forgetting=forgetting)
        return batches.batch(0, 400).missed.float().mean(1)

    assert missed(0.0).max() == 0
    shares = missed(0.6)
    assert 0.5 < float((shares > 0).float().mean()) < 0.7
    # Half of them not at all, and the others by every share.
    assert 0.2 < float((shares == 1).float().mean()) < 0.4
    partly = shares[(shares > 0) & (shares < 1)]
    assert 0.4 < float(partly.mean()) < 0.6
    assert Batches(random_clips((60,)), tokenizer, config, num_frames=50).beginnings(0, 1).missed.sum() == 0

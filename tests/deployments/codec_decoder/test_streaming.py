from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.codec_decoder.codec import Codec, decode, decode_window
from deployments.codec_decoder.windows import windows
from deployments.messages import CodeWindow, DecoderState
from tests.deployments.codec_decoder.random_codec import (
    GEOMETRIES,
    decode_in_one_run,
    random_codec,
    random_codes,
    relative_error,
)

TOLERANCE = 1e-4

CODECS = {geometry: random_codec(geometry) for geometry in GEOMETRIES}
plans = st.tuples(st.integers(1, 12), st.integers(0, 20)).map(lambda sizes: (sizes[0], sum(sizes)))


def window_by_window(
    codec: Codec, codes: np.ndarray, plan: tuple[int, int] = (8, 50), more_frames: int = 0
) -> Iterator[np.ndarray]:
    """The sound of each window, when `more_frames` beyond what it needs are known."""
    state: DecoderState | None = None
    first, steady = plan
    for _, end in windows(codes.shape[1], codec.lookahead, first_frames=first, steady_frames=steady):
        decoded = decode_window(codec, CodeWindow(codes[:, : end + codec.lookahead + more_frames], end, state))
        state = decoded.state
        yield decoded.pcm


@pytest.mark.parametrize("geometry", GEOMETRIES)
@settings(max_examples=40, deadline=None)
@given(num_frames=st.integers(1, 70), plan=plans)
def test_the_windows_together_are_the_clip_decoded_in_one_run(
    geometry: str, num_frames: int, plan: tuple[int, int]
) -> None:
    codec = CODECS[geometry]
    codes = random_codes(codec, num_frames)
    reference = decode_in_one_run(codec, codes)
    streamed = np.concatenate(list(window_by_window(codec, codes, plan)), axis=1)
    assert streamed.shape == reference.shape == (1, num_frames * codec.hop)
    assert streamed.dtype == np.float32
    assert relative_error(streamed, reference) < TOLERANCE


@pytest.mark.usefixtures("threads")
@settings(max_examples=40, deadline=None)
@given(num_frames=st.integers(1, 70), plan=plans, more_frames=st.integers(0, 30))
def test_frames_known_beyond_what_a_window_needs_change_no_bit(
    num_frames: int, plan: tuple[int, int], more_frames: int
) -> None:
    codec = CODECS["musicgen"]
    codes = random_codes(codec, num_frames)
    exactly = list(window_by_window(codec, codes, plan))
    for sound, with_more in zip(exactly, window_by_window(codec, codes, plan, more_frames), strict=True):
        assert np.array_equal(with_more, sound)


@pytest.mark.usefixtures("threads")
def test_clips_that_take_turns_each_sound_as_they_do_alone(codec: Codec) -> None:
    clips = [random_codes(codec, num_frames, seed=num_frames) for num_frames in (30, 61, 7, 130)]
    under_way = [window_by_window(codec, codes) for codes in clips]
    sounds: list[list[np.ndarray]] = [[] for _ in clips]
    for _ in range(20):
        for sound, windows_of_clip in zip(sounds, under_way, strict=True):
            sound.extend(window for window in [next(windows_of_clip, None)] if window is not None)
    for sound, codes in zip(sounds, clips, strict=True):
        assert np.array_equal(np.concatenate(sound, axis=1), decode(codec, codes))


def test_the_state_is_a_value_that_another_process_can_take_up(codec: Codec) -> None:
    """Read-only and a copy, as it comes out of Ray's object store; and it may be taken up twice."""
    codes = random_codes(codec, 40)
    first = decode_window(codec, CodeWindow(codes[:, :12], 8))
    state = pickle.loads(pickle.dumps(first.state))
    state.lstm.flags.writeable = state.outputs.flags.writeable = False
    other_replica = random_codec("musicgen")
    here = decode_window(codec, CodeWindow(codes[:, :28], 24, first.state))
    for _ in range(2):
        there = decode_window(other_replica, CodeWindow(codes[:, :28], 24, state))
        assert np.array_equal(there.pcm, here.pcm)
        assert np.array_equal(there.state.lstm, here.state.lstm)
        assert np.array_equal(there.state.outputs, here.state.outputs)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_state_is_small_and_does_not_grow(channels: int) -> None:
    codec = random_codec("musicgen", channels=channels)
    codes = random_codes(codec, 300)
    state, sizes = None, []
    for _, end in windows(300, codec.lookahead):
        state = decode_window(codec, CodeWindow(codes[:, : end + 4], end, state)).state
        sizes.append(len(pickle.dumps(state)))
    floats = channels * codec.network.width * (2 * 2 + 2)  # two layers' two states, the outputs of two frames
    assert max(sizes) < 4 * floats + 500


@pytest.mark.parametrize("known", [9, 10, 11])
def test_a_window_without_the_frames_it_looks_ahead_to_is_refused(codec: Codec, known: int) -> None:
    with pytest.raises(ValueError, match=f"frames 0 to 8 can't be decoded of {known}"):
        decode_window(codec, CodeWindow(random_codes(codec, known), 8))


@pytest.mark.parametrize("end", [0, -1, 21])
def test_a_window_of_no_frames_or_of_unknown_ones_is_refused(codec: Codec, end: int) -> None:
    with pytest.raises(ValueError, match=f"frames 0 to {end} can't be decoded of 20"):
        decode_window(codec, CodeWindow(random_codes(codec, 20), end))


def test_what_was_sounded_does_not_depend_on_what_follows(codec: Codec) -> None:
    codes, other = random_codes(codec, 60, seed=1), random_codes(codec, 60, seed=2)
    other[:, :31] = codes[:, :31]
    assert np.array_equal(decode(codec, codes)[:, : 27 * codec.hop], decode(codec, other)[:, : 27 * codec.hop])


def test_each_channel_is_the_mono_codec_on_its_own_codebooks(codec: Codec) -> None:
    stereo = random_codec("musicgen", channels=2)
    codes = random_codes(stereo, 33)
    sound = decode(stereo, codes)
    assert sound.shape == (2, 33 * stereo.hop)
    assert np.array_equal(sound[:1], decode(codec, codes[0::2]))
    assert np.array_equal(sound[1:], decode(codec, codes[1::2]))


def test_no_frames_make_no_sound(codec: Codec) -> None:
    assert decode(codec, random_codes(codec, 0)).shape == (1, 0)

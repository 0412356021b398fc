"""Whatever is wrong with an answer is noticed."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from httpx import Headers

from loadtests.load.clip_requests import ClipRequest
from loadtests.load.errors import Refused, WrongAnswer
from loadtests.load.response_checks import OUTCOMES, RepeatChecker, check_length, check_status
from loadtests.load.samples import Sample
from loadtests.load.user_tasks import check_clip
from loadtests.load.wav import wav_head
from tests.serve_app.api.service import SAMPLE_RATE, compose, service

WISH = ClipRequest("a tone", 3, 333, "refresh")


def answer() -> tuple[bytes, Headers]:
    """The service's own, and right."""
    response = compose(service(), **WISH.body)
    return response.content, response.headers


def check(wav: bytes, headers: Headers, request: ClipRequest = WISH) -> Sample:
    sample = Sample("POST", "compose", 0.0)
    check_length(headers, len(wav))
    check_clip(wav, headers, request, RepeatChecker(), sample)
    return sample


def test_a_right_answer_is_right_and_noted() -> None:
    wav, headers = answer()
    sample = check(wav, headers)
    assert (sample.outcome, sample.audio_s, sample.size_bytes) == ("miss", 0.333, len(wav))
    head = wav_head(wav)
    assert head is not None
    assert (head.sample_rate, head.channels, head.num_samples) == (SAMPLE_RATE, 1, 333 * SAMPLE_RATE // 1000)
    assert head.data_offset + head.data_bytes == head.size_bytes == len(wav)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Length", "1"),
        ("Content-Length", None),
        ("X-Seed", "4"),
        ("X-Cache", "hit"),
        ("X-Cache", "maybe"),
        ("X-Cache", None),
        ("X-Generation-Id", "G" * 32),
        ("X-Sample-Rate", "16000"),
        ("X-Channels", "2"),
        ("X-Duration-Ms", "334"),
        ("X-Model", None),
        ("X-Model-License", ""),
        ("X-Request-Id", None),
        ("Content-Type", "text/html"),
    ],
)
def test_a_header_that_is_wrong_or_missing_is_noticed(name: str, value: str | None) -> None:
    wav, headers = answer()
    if value is None:
        del headers[name]
    else:
        headers[name] = value
    with pytest.raises(WrongAnswer, match=f"{name}|bytes"):
        check(wav, headers)


def test_what_was_kept_has_its_age() -> None:
    wav, headers = answer()
    headers["X-Cache"] = "hit"
    with pytest.raises(WrongAnswer, match="Age"):
        check(wav, headers, replace(WISH, cache="use"))
    headers["Age"] = "3"
    assert check(wav, headers, replace(WISH, cache="use")).outcome == "hit"
    assert "hit" not in OUTCOMES["refresh"]


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda wav: wav[:-2],
        lambda wav: wav + b"\0\0",
        lambda wav: b"",
        lambda wav: wav[:20],
        lambda wav: b"OggS" + wav[4:],
        lambda wav: wav.replace(b"data", b"tada"),
        lambda wav: wav.replace(b"fmt ", b"tmf "),
        lambda wav: wav[:34] + struct.pack("<H", 24) + wav[36:],
        lambda wav: wav[:20] + struct.pack("<H", 3) + wav[22:],
    ],
)
def test_a_file_that_is_not_whole_or_no_wav_is_noticed(spoiled: Callable[[bytes], bytes]) -> None:
    wav, headers = answer()
    wav = spoiled(wav)
    headers["Content-Length"] = str(len(wav))
    with pytest.raises(WrongAnswer, match="WAV file"):
        check(wav, headers)


@pytest.mark.parametrize("duration_ms", [332, 334])
def test_a_clip_is_as_long_as_asked_to_the_sample(duration_ms: int) -> None:
    wav, headers = answer()
    expected = re.escape(f"{333 * 32} samples in the place of {duration_ms * 32}")
    with pytest.raises(WrongAnswer, match=expected):
        check(wav, headers, replace(WISH, duration_ms=duration_ms))


def test_a_head_is_read_as_soon_as_it_is_there_and_not_sooner() -> None:
    wav, _ = answer()
    heads = [wav_head(wav[:end]) for end in range(len(wav) + 1)]
    first = next(i for i, head in enumerate(heads) if head is not None)
    assert heads[first] is not None
    assert first == heads[first].data_offset
    assert set(heads[first:]) == {heads[first]}


def test_samples_that_never_come_are_not_waited_for() -> None:
    wav, _ = answer()
    endless = wav[:36] + b"LIST" + struct.pack("<I", 2**31) + bytes(70_000)
    with pytest.raises(WrongAnswer, match="64 kB"):
        wav_head(endless)


def test_the_same_wish_gives_the_same_bytes_wherever_it_may_come_from_the_cache() -> None:
    repeat_checker, kept = RepeatChecker(), replace(WISH, cache="use")
    repeat_checker.check(kept, b"abc")
    repeat_checker.check(kept, bytearray(b"abc"))
    repeat_checker.check(replace(kept, duration_ms=200), b"ab")
    with pytest.raises(WrongAnswer, match="other bytes"):
        repeat_checker.check(kept, b"abd")


def test_a_refusal_says_for_how_long() -> None:
    with pytest.raises(Refused) as caught:
        check_status(429, 200, {"Retry-After": "5"}, b"")
    assert caught.value.retry_after_s == 5
    for headers in ({}, {"Retry-After": "soon"}):
        with pytest.raises(WrongAnswer, match="Retry-After"):
            check_status(429, 200, headers, b"")


def test_any_other_status_is_told_with_what_came() -> None:
    check_status(206, 206, {}, b"")
    with pytest.raises(WrongAnswer, match="500 in the place of 200: it broke"):
        check_status(500, 200, {}, b"it broke")

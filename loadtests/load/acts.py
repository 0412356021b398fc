"""What users do, one function each. Every part of it is measured and checked; a wrong answer is a failure.

Each raises Refused, where the service has no place now, and Ended, where something went wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from loadtests.load.answer_checks import OUTCOMES, Repeats, check_headers, check_length, check_sound
from loadtests.load.playback import Playback
from loadtests.load.recorder import Recorder
from loadtests.load.sample import Sample
from loadtests.load.service import Service
from loadtests.load.wav import WavHead, wav_head
from loadtests.load.wish import Wish

MUSIC = "/v1/music"
STREAM = "/v1/music/stream"
COMPOSE = "compose"
FIRST_AUDIO = "first audio"
LONGEST_GAP = "longest gap"


def wait_for_clip(service: Service, recorder: Recorder, repeats: Repeats, wish: Wish, name: str) -> None:
    """The whole clip in one answer."""
    with recorder.measured("POST", name) as sample, service.ask("POST", MUSIC, wish.body) as answer:
        answer.expect(200)
        wav = answer.read()
        check_length(answer.headers, len(wav))
        check_clip(wav, answer.headers, wish, repeats, sample)


def listen(service: Service, recorder: Recorder, repeats: Repeats, wish: Wish, name: str) -> None:
    """The clip as it is made. What a player would have had of it are two lines of their own: FIRST_AUDIO, and
    LONGEST_GAP, which is 0 where it never had to wait.
    """
    playback = Playback()
    with recorder.measured("POST", name) as sample, service.ask("POST", STREAM, wish.body) as answer:
        answer.expect(200)
        wav = bytearray()
        head: WavHead | None = None
        for piece in answer.pieces():
            wav += piece
            head = head or wav_head(wav)
            if head is not None:
                heard_s = (len(wav) - head.data_offset) / head.bytes_per_s
                playback.arrived(recorder.clock() - sample.at_s, heard_s)
        check_length(answer.headers, len(wav))
        check_clip(wav, answer.headers, wish, repeats, sample)
    if playback.first_audio_s is not None:
        recorder.audio(FIRST_AUDIO, sample, 1000 * playback.first_audio_s)
        recorder.audio(LONGEST_GAP, sample, 1000 * playback.longest_gap_s)


def hang_up(service: Service, recorder: Recorder, wish: Wish, num_pieces: int, patience_s: float, name: str) -> None:
    """A stream that is left after so many pieces of sound, or after `patience_s` where nothing has come by then."""
    with recorder.measured("POST", name) as sample:
        try:
            with service.waiting(patience_s).ask("POST", STREAM, wish.body) as answer:
                answer.expect(200)
                check_headers(answer.headers, wish, OUTCOMES[wish.cache])
                for _, piece in zip(range(num_pieces), answer.pieces(), strict=False):
                    sample.size_bytes += len(piece)
        except TimeoutError:
            return  # as impatient as that


def check_clip(
    wav: bytes | bytearray,
    headers: Mapping[str, str],
    wish: Wish,
    repeats: Repeats,
    sample: Sample,
    outcomes: Collection[str] | None = None,
) -> None:
    """A whole clip and the headers it came with; what it was is noted in the sample.

    outcomes: that X-Cache may have; None for those of a clip that is made or kept just so. Raises: WrongAnswer.
    """
    sample.size_bytes = len(wav)
    sample.outcome = check_headers(headers, wish, OUTCOMES[wish.cache] if outcomes is None else outcomes)
    check_sound(wav, headers, wish)
    repeats.check(wish, wav)
    sample.audio_s = wish.duration_ms / 1000

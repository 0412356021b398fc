"""What users do, one function for each kind. Every part is measured and checked; a wrong response is a failure.

Each function raises Refused, where the service has no place now, and UserTaskFailed, where something went wrong.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from loadtests.load.clip_requests import ClipRequest
from loadtests.load.errors import WrongAnswer
from loadtests.load.http_client import Response, ServiceClient
from loadtests.load.recorder import Recorder
from loadtests.load.response_checks import OUTCOMES, RepeatChecker, check_headers, check_length, check_sound
from loadtests.load.samples import Sample
from loadtests.load.wav import WavHead, wav_head
from serve_app.client import ServerSentEvent, events_of

MUSIC = "/v1/music"
STREAM = "/v1/music/stream"
COMPOSE = "compose"
FIRST_AUDIO = "first audio"
LONGEST_GAP = "longest gap"


def wait_for_clip(
    service: ServiceClient, recorder: Recorder, repeat_checker: RepeatChecker, request: ClipRequest, name: str
) -> None:
    """Requests the whole clip in one response."""
    with recorder.measured("POST", name) as sample, service.request("POST", MUSIC, request.body) as answer:
        answer.expect(200)
        wav = answer.read()
        check_length(answer.headers, len(wav))
        check_clip(wav, answer.headers, request, repeat_checker, sample)


def stream_clip(
    service: ServiceClient, recorder: Recorder, repeat_checker: RepeatChecker, request: ClipRequest, name: str
) -> None:
    """Streams the clip. A player's experience is recorded in two samples of their own: FIRST_AUDIO, and LONGEST_GAP,
    which is 0 where the player never had to wait.
    """
    playback = Playback()
    with recorder.measured("POST", name) as sample, service.request("POST", STREAM, request.body) as answer:
        answer.expect(200)
        wav = bytearray()
        head: WavHead | None = None
        for piece in answer.pieces():
            wav += piece
            head = head or wav_head(wav)
            if head is not None:
                available_s = (len(wav) - head.data_offset) / head.bytes_per_s
                playback.arrived(recorder.clock() - sample.at_s, available_s)
        check_length(answer.headers, len(wav))
        check_clip(wav, answer.headers, request, repeat_checker, sample)
    if playback.first_audio_s is not None:
        recorder.audio(FIRST_AUDIO, sample, 1000 * playback.first_audio_s)
        recorder.audio(LONGEST_GAP, sample, 1000 * playback.longest_gap_s)


def disconnect(
    service: ServiceClient, recorder: Recorder, request: ClipRequest, num_pieces: int, timeout_s: float, name: str
) -> None:
    """Disconnects from a stream after so many pieces of sound, or after `timeout_s` if nothing has come by then."""
    with recorder.measured("POST", name) as sample:
        try:
            with service.waiting(timeout_s).request("POST", STREAM, request.body) as answer:
                answer.expect(200)
                check_headers(answer.headers, request, OUTCOMES[request.cache])
                for _, piece in zip(range(num_pieces), answer.pieces(), strict=False):
                    sample.size_bytes += len(piece)
        except TimeoutError:
            return


def check_clip(
    wav: bytes | bytearray,
    headers: Mapping[str, str],
    request: ClipRequest,
    repeat_checker: RepeatChecker,
    sample: Sample,
    outcomes: Collection[str] | None = None,
) -> None:
    """Checks a whole clip and its headers, and fills in the sample.

    outcomes: that X-Cache may have; None: those of a clip that is made or cached for this request. Raises: WrongAnswer.
    """
    sample.size_bytes = len(wav)
    sample.outcome = check_headers(headers, request, OUTCOMES[request.cache] if outcomes is None else outcomes)
    check_sound(wav, headers, request)
    repeat_checker.check(request, wav)
    sample.audio_s = request.duration_ms / 1000


class Playback:
    """A player that begins with the first samples, and waits where it has none. All seconds count from the request.

    first_audio_s: when it began; None before. longest_gap_s: the longest time in which it had nothing to play.
    """

    def __init__(self) -> None:
        self.first_audio_s: float | None = None
        self.longest_gap_s = 0.0
        self._runs_dry_s = 0.0
        self._available_s = 0.0

    def arrived(self, at_s: float, available_s: float) -> None:
        """Called whenever data arrives. available_s: seconds of sound received by then."""
        if available_s <= self._available_s:
            return
        if self.first_audio_s is None:
            self.first_audio_s = self._runs_dry_s = at_s
        gap_s = max(0.0, at_s - self._runs_dry_s)
        self.longest_gap_s = max(self.longest_gap_s, gap_s)
        self._runs_dry_s += gap_s + available_s - self._available_s
        self._available_s = available_s


GENERATIONS = "/v1/generations"
_STATES = ("queued", "running", "succeeded")

Generation = Mapping[str, Any]


def run_job(
    service: ServiceClient,
    recorder: Recorder,
    repeat_checker: RepeatChecker,
    request: ClipRequest,
    idempotency_key: str,
    queue: str,
    name: str,
) -> None:
    """A job from its submission to its removal, in four samples; `NAME: made` is the time until it has succeeded.

    Raises: Refused, where the service has no place now; Ended, where something went wrong.
    """
    submitted_s = recorder.clock()
    with recorder.measured("POST", f"{name}: submit"):
        generation = submit(service, request, idempotency_key, queue)
    path = f"{GENERATIONS}/{generation['id']}"
    with recorder.measured("GET", f"{name}: made") as sample:
        sample.at_s = submitted_s
        follow(service, path, generation)
        sample.audio_s, sample.outcome = request.duration_ms / 1000, "miss"
    with recorder.measured("GET", f"{name}: fetch") as sample:
        fetch(service, path, repeat_checker, request, sample)
    with recorder.measured("DELETE", f"{name}: remove"), service.request("DELETE", path) as answer:
        answer.expect(204)


def submit(service: ServiceClient, request: ClipRequest, idempotency_key: str, queue: str) -> Generation:
    """Submits the job and returns it as accepted. Raises: WrongAnswer, Refused."""
    body = {**request.body, "queue": queue}
    with service.request("POST", GENERATIONS, body, {"Idempotency-Key": idempotency_key}) as answer:
        answer.expect(202)
        generation = _generation(answer.read())
    expected = (request.prompt, request.duration_ms, queue, f"{GENERATIONS}/{generation['id']}")
    told = tuple(generation.get(key) for key in ("prompt", "music_length_ms", "queue"))
    if (*told, answer.headers.get("Location")) != expected:
        raise WrongAnswer("what was taken in is not what was submitted")
    return generation


def follow(service: ServiceClient, path: str, generation: Generation) -> None:
    """Follows the events until success. Raises: WrongAnswer for events that go back or end early, and for failure."""
    with service.request("GET", f"{path}/events", headers={"Accept": "text/event-stream"}) as answer:
        answer.expect(200)
        try:
            state = check_events(events_of(answer.pieces()), generation["id"])
        except ValueError as error:
            raise WrongAnswer(f"the events can't be read: {error}") from error
    if state != _STATES[-1]:
        raise WrongAnswer(f"the events ended at {state}")


def check_events(events: Iterable[ServerSentEvent], generation_id: str) -> str:
    """Returns the last state. Raises: WrongAnswer where events are out of order; ValueError for invalid ones."""
    version, progress, state, position = -1, 0.0, "none", None
    for event in events:
        told = _generation(event.data.encode())
        before, state = state, told["state"]
        if state not in _STATES:
            raise WrongAnswer(f"the generation is {state}: {event.data[:300]}")
        # The place in the queue changes with other jobs, without a new version.
        is_new = int(event.id) > version or (int(event.id) == version and told.get("position") != position)
        in_order = is_new and told["progress"] >= progress and told["id"] == generation_id
        forward = before == "none" or _STATES.index(state) >= _STATES.index(before)
        if not (in_order and forward and event.kind == ("progress" if state == before else state)):
            raise WrongAnswer(f"an event is out of order: {event.kind} {event.id} after {before} {version}")
        version, progress, position = int(event.id), told["progress"], told.get("position")
    return state


def fetch(
    service: ServiceClient, path: str, repeat_checker: RepeatChecker, request: ClipRequest, sample: Sample
) -> None:
    """Fetches the sound in two ranges and checks it; then checks that an unchanged file is not sent again.

    Raises: WrongAnswer.
    """
    path = f"{path}/audio"
    with service.request("GET", path, headers={"Range": "bytes=0-999"}) as answer:
        wav, size_bytes, tag = _part(answer, 0)
        headers = answer.headers
    with service.request("GET", path, headers={"Range": "bytes=1000-", "If-Range": tag}) as answer:
        rest, same_size_bytes, same_tag = _part(answer, 1000)
    if (same_size_bytes, same_tag, len(wav) + len(rest)) != (size_bytes, tag, size_bytes):
        raise WrongAnswer("the two parts are not those of one file")
    check_clip(wav + rest, headers, request, repeat_checker, sample, outcomes={"hit"})
    with service.request("GET", path, headers={"If-None-Match": tag}) as answer:
        answer.expect(304)


def _part(answer: Response, first: int) -> tuple[bytes, int, str]:
    """A part of a file from its byte `first`: the part, the size of the whole, and its tag. Raises: WrongAnswer."""
    answer.expect(206)
    body = answer.read()
    check_length(answer.headers, len(body))
    place, _, size = answer.headers.get("Content-Range", "").partition("/")
    tag = answer.headers.get("ETag", "")
    if place != f"bytes {first}-{first + len(body) - 1}" or not size.isdecimal():
        raise WrongAnswer("Content-Range is not what came")
    if not tag.startswith('"'):
        raise WrongAnswer("a part without a strong ETag")
    return body, int(size), tag


def _generation(document: bytes) -> Generation:
    """Raises: WrongAnswer."""
    try:
        generation = json.loads(document)
        if not isinstance(generation["id"], str) or not isinstance(generation["progress"], float | int):
            raise TypeError
        str(generation["state"])
    except (ValueError, KeyError, TypeError) as error:
        raise WrongAnswer("the answer is no generation") from error
    checked: Generation = generation
    return checked

"""What the users do who have music made as a job: submit it, follow it, fetch it in two parts, remove it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from loadtests.load.acts import check_clip
from loadtests.load.answer_checks import Repeats, check_length
from loadtests.load.errors import WrongAnswer
from loadtests.load.recorder import Recorder
from loadtests.load.sample import Sample
from loadtests.load.service import Answer, Service
from loadtests.load.wish import Wish
from serve_app.client import Event, events_of

GENERATIONS = "/v1/generations"
_STATES = ("queued", "running", "succeeded")

Generation = Mapping[str, Any]


def have_made(
    service: Service, recorder: Recorder, repeats: Repeats, wish: Wish, idempotency_key: str, queue: str, name: str
) -> None:
    """A job from its submission to its removal, in four lines; `NAME: made` is the time until all of it was.

    Raises: Refused, where the service has no place now; Ended, where something went wrong.
    """
    submitted_s = recorder.clock()
    with recorder.measured("POST", f"{name}: submit"):
        generation = submit(service, wish, idempotency_key, queue)
    path = f"{GENERATIONS}/{generation['id']}"
    with recorder.measured("GET", f"{name}: made") as sample:
        sample.at_s = submitted_s
        follow(service, path, generation)
        sample.audio_s, sample.outcome = wish.duration_ms / 1000, "miss"
    with recorder.measured("GET", f"{name}: fetch") as sample:
        fetch(service, path, repeats, wish, sample)
    with recorder.measured("DELETE", f"{name}: remove"), service.ask("DELETE", path) as answer:
        answer.expect(204)


def submit(service: Service, wish: Wish, idempotency_key: str, queue: str) -> Generation:
    """The generation, as it was taken in. Raises: WrongAnswer, Refused."""
    body = {**wish.body, "queue": queue}
    with service.ask("POST", GENERATIONS, body, {"Idempotency-Key": idempotency_key}) as answer:
        answer.expect(202)
        generation = _generation(answer.read())
    asked = (wish.prompt, wish.duration_ms, queue, f"{GENERATIONS}/{generation['id']}")
    told = tuple(generation.get(key) for key in ("prompt", "music_length_ms", "queue"))
    if (*told, answer.headers.get("Location")) != asked:
        raise WrongAnswer("what was taken in is not what was submitted")
    return generation


def follow(service: Service, path: str, generation: Generation) -> None:
    """Until it is made. Raises: WrongAnswer for events that go back, that end too early, and for any other end."""
    with service.ask("GET", f"{path}/events", headers={"Accept": "text/event-stream"}) as answer:
        answer.expect(200)
        try:
            state = check_events(events_of(answer.pieces()), generation["id"])
        except ValueError as error:
            raise WrongAnswer(f"the events can't be read: {error}") from error
    if state != _STATES[-1]:
        raise WrongAnswer(f"the events ended at {state}")


def check_events(events: Iterable[Event], generation_id: str) -> str:
    """The last state. Raises: WrongAnswer where they are out of order; ValueError where they can't be read."""
    version, progress, state, position = -1, 0.0, "none", None
    for event in events:
        told = _generation(event.data.encode())
        before, state = state, told["state"]
        if state not in _STATES:
            raise WrongAnswer(f"the generation is {state}: {event.data[:300]}")
        # Its place in the queue changes with what others do, and no version with it.
        is_new = int(event.id) > version or (int(event.id) == version and told.get("position") != position)
        in_order = is_new and told["progress"] >= progress and told["id"] == generation_id
        forward = before == "none" or _STATES.index(state) >= _STATES.index(before)
        if not (in_order and forward and event.kind == ("progress" if state == before else state)):
            raise WrongAnswer(f"an event is out of order: {event.kind} {event.id} after {before} {version}")
        version, progress, position = int(event.id), told["progress"], told.get("position")
    return state


def fetch(service: Service, path: str, repeats: Repeats, wish: Wish, sample: Sample) -> None:
    """The sound in two parts, put together and checked; and that it is not sent again to who has it.

    Raises: WrongAnswer.
    """
    path = f"{path}/audio"
    with service.ask("GET", path, headers={"Range": "bytes=0-999"}) as answer:
        wav, size_bytes, tag = _part(answer, 0)
        headers = answer.headers
    with service.ask("GET", path, headers={"Range": "bytes=1000-", "If-Range": tag}) as answer:
        rest, same_size_bytes, same_tag = _part(answer, 1000)
    if (same_size_bytes, same_tag, len(wav) + len(rest)) != (size_bytes, tag, size_bytes):
        raise WrongAnswer("the two parts are not those of one file")
    check_clip(wav + rest, headers, wish, repeats, sample, outcomes={"hit"})
    with service.ask("GET", path, headers={"If-None-Match": tag}) as answer:
        answer.expect(304)


def _part(answer: Answer, first: int) -> tuple[bytes, int, str]:
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

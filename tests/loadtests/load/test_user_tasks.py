"""What users do, against the HTTP surface on a socket."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.messages import Clip, MusicRequest
from loadtests.load.clip_requests import ClipRequest
from loadtests.load.errors import Refused, WrongAnswer
from loadtests.load.http_client import ServiceClient
from loadtests.load.recorder import Recorder, UserTaskFailed
from loadtests.load.response_checks import RepeatChecker
from loadtests.load.samples import Sample
from loadtests.load.user_tasks import check_events, disconnect, run_job, stream_clip, wait_for_clip
from serve_app.client import ServerSentEvent
from serve_app.errors import Internal, TooBusy
from tests.serve_app.api.jobs_reference import DecodingBackend, job_service
from tests.serve_app.api.service import SineBackend, service, sine
from tests.serve_app.cli.service import Stepping, on_a_socket

NEW = ClipRequest("a tone", 3, 1200, "refresh")
OLD = ClipRequest("a tone", 3, 1200, "use")


class RecordedUser:
    """One user. Its clock ticks by a second each time it is looked at."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.samples: list[Sample] = []
        ticks = itertools.count()
        self.recorder = Recorder(self.samples.append, lambda: float(next(ticks)))
        self.service = ServiceClient(url, api_key, 20)
        self.repeat_checker = RepeatChecker()

    def listens(self, request: ClipRequest) -> None:
        stream_clip(self.service, self.recorder, self.repeat_checker, request, "stream")

    def waits(self, request: ClipRequest) -> None:
        wait_for_clip(self.service, self.recorder, self.repeat_checker, request, "compose")

    def submits(self, request: ClipRequest) -> None:
        run_job(self.service, self.recorder, self.repeat_checker, request, "a key", "batch", "job")

    @property
    def ends(self) -> list[tuple[str, str, str]]:
        return [(sample.method, sample.name, sample.end) for sample in self.samples]


@contextmanager
def user(backend: SineBackend | None = None, jobs: Stepping | None = None) -> Iterator[RecordedUser]:
    app = service(backend) if jobs is None else job_service(jobs, backend or DecodingBackend())
    with on_a_socket(app) as url:
        yield RecordedUser(url)


def test_a_clip_that_is_waited_for_is_one_line_and_where_it_came_from_is_noted() -> None:
    with user() as someone:
        for request in (NEW, OLD):
            someone.waits(request)
    assert someone.ends == [("POST", "compose", "right")] * 2
    assert [sample.outcome for sample in someone.samples] == ["miss", "hit"]
    assert {sample.audio_s for sample in someone.samples} == {1.2}
    assert someone.samples[0].size_bytes > 2 * 32 * 1200


def test_a_stream_is_three_lines_with_the_first_audio_before_the_end() -> None:
    with user() as someone:
        someone.listens(NEW)
    assert someone.ends == [
        ("POST", "stream", "right"),
        ("AUDIO", "first audio", "right"),
        ("AUDIO", "longest gap", "right"),
    ]
    whole, first, _ = someone.samples
    assert 0 < first.ms < whole.ms
    assert first.at_s == whole.at_s


def test_a_job_is_followed_to_its_end_fetched_in_parts_and_removed() -> None:
    with user(jobs=Stepping()) as someone:
        someone.submits(OLD)
    assert someone.ends == [
        ("POST", "job: submit", "right"),
        ("GET", "job: made", "right"),
        ("GET", "job: fetch", "right"),
        ("DELETE", "job: remove", "right"),
    ]
    submitted, made, fetched, _ = someone.samples
    assert made.at_s < submitted.at_s
    assert (made.outcome, fetched.outcome) == ("miss", "hit")


def test_a_job_that_fails_is_a_failure_and_what_followed_is_not_done() -> None:
    with user(jobs=Stepping(fails=(0,))) as someone, pytest.raises(UserTaskFailed):
        someone.submits(OLD)
    assert someone.ends == [("POST", "job: submit", "right"), ("GET", "job: made", "wrong")]
    assert "the generation is failed" in (someone.samples[-1].failure or "")


@pytest.mark.parametrize("num_pieces", [0, 1, 2])
def test_a_client_that_disconnects_frees_its_place(num_pieces: int) -> None:
    backend = SineBackend()
    with user(backend) as someone:
        disconnect(someone.service, someone.recorder, NEW, num_pieces, 20, "hang up")
    assert someone.ends == [("POST", "hang up", "right")]
    assert backend.open_takes == 0


def test_a_disconnect_before_the_response_is_no_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        someone = RecordedUser(f"http://127.0.0.1:{silent.getsockname()[1]}")
        disconnect(someone.service, someone.recorder, NEW, 3, 0.01, "hang up")
    assert someone.ends == [("POST", "hang up", "right")]


def test_a_refusal_is_counted_apart_and_travels_with_its_time() -> None:
    async def full(_: MusicRequest) -> Clip:
        raise TooBusy("Every place is taken.", retry_after_s=7)

    with user(SineBackend(full)) as someone:
        for act in (someone.waits, someone.listens):
            with pytest.raises(Refused) as caught:
                act(NEW)
            assert caught.value.retry_after_s == 7
    assert someone.ends == [("429", "compose", "refused"), ("429", "stream", "refused")]


def test_an_error_is_a_failure_with_its_text() -> None:
    async def broken(_: MusicRequest) -> Clip:
        raise Internal("It is broken.")

    with user(SineBackend(broken)) as someone, pytest.raises(UserTaskFailed):
        someone.waits(NEW)
    [sample] = someone.samples
    assert sample.end == "wrong"
    assert "500 in the place of 200" in (sample.failure or "")
    assert "It is broken." in (sample.failure or "")


def test_a_service_that_is_not_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    someone = RecordedUser(url)
    with pytest.raises(UserTaskFailed):
        someone.listens(NEW)
    assert someone.ends == [("POST", "stream", "wrong")]


def test_what_is_cut_off_from_outside_is_told_apart() -> None:
    someone = RecordedUser("http://127.0.0.1")
    with pytest.raises(KeyboardInterrupt), someone.recorder.measured("POST", "stream"):
        raise KeyboardInterrupt
    assert someone.ends == [("POST", "stream", "cut off")]


def test_other_bytes_for_the_same_request_are_a_failure() -> None:
    pitches = itertools.count(1)

    async def another(request: MusicRequest) -> Clip:
        clip = sine(request)
        return Clip(clip.pcm / next(pitches), clip.sample_rate, clip.codes)

    class Forgetful(SineBackend):
        def store(self, *_: object) -> None:
            pass

    with user(Forgetful(another)) as someone:
        someone.waits(OLD)
        with pytest.raises(UserTaskFailed):
            someone.waits(OLD)
    assert "other bytes" in (someone.samples[-1].failure or "")


@contextmanager
def tampered(change: Callable[[Message], Message | None]) -> Iterator[RecordedUser]:
    """The service with its messages changed, or kept back and the connection closed."""
    inner = service()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            other = change(message)
            if other is None:
                raise ConnectionResetError
            await send(other)

        await inner(scope, receive, changed)

    with on_a_socket(app) as url:
        yield RecordedUser(url)


def test_a_stream_that_breaks_off_is_a_failure() -> None:
    bodies = itertools.count()

    def second_kept_back(message: Message) -> Message | None:
        return None if message["type"] == "http.response.body" and next(bodies) == 1 else message

    with tampered(second_kept_back) as someone, pytest.raises(UserTaskFailed):
        someone.listens(NEW)
    assert someone.ends == [("POST", "stream", "wrong")]
    assert "broke off" in (someone.samples[0].failure or "")


def test_no_redirect_is_followed() -> None:
    def elsewhere(message: Message) -> Message:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"location", b"http://192.0.2.1/")]
            return {**message, "status": 307, "headers": headers}
        return message

    with tampered(elsewhere) as someone, pytest.raises(UserTaskFailed):
        someone.waits(NEW)
    assert "307 in the place of 200" in (someone.samples[0].failure or "")


def test_a_key_is_shown_and_a_mounted_service_found() -> None:
    seen: list[tuple[str, bytes | None]] = []

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        seen.append((scope["path"], dict(scope["headers"]).get(b"authorization")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"yes"})

    with on_a_socket(app) as url:
        with ServiceClient(f"{url}/music", "a-key", 20).request("GET", "/v1/models") as answer:
            assert answer.read() == b"yes"
        with ServiceClient(url, None, 20).request("GET", "/v1/models"):
            pass
    assert seen == [("/music/v1/models", b"Bearer a-key"), ("/v1/models", None)]


def event(
    version: int,
    state: str,
    progress: float,
    kind: str | None = None,
    generation_id: str = "x",
    position: int | None = None,
) -> ServerSentEvent:
    told = {"id": generation_id, "state": state, "progress": progress, "position": position}
    return ServerSentEvent(str(version), kind or state, json.dumps(told))


QUEUED, RUNNING, HALF, MADE = (
    event(0, "queued", 0),
    event(1, "running", 0),
    event(2, "running", 0.5, "progress"),
    event(3, "succeeded", 1),
)


def test_events_lead_from_the_queue_to_the_end_and_may_leave_states_out() -> None:
    assert check_events([QUEUED, RUNNING, HALF, MADE], "x") == "succeeded"
    assert check_events([MADE], "x") == "succeeded"
    assert check_events([QUEUED, RUNNING], "x") == "running"
    assert check_events([], "x") == "none"


def test_a_job_may_move_in_the_queue_without_a_version_of_its_own() -> None:
    third, first = event(0, "queued", 0, position=3), event(0, "queued", 0, "progress", position=1)
    assert check_events([third, first, RUNNING], "x") == "running"
    with pytest.raises(WrongAnswer):
        check_events([third, first, first], "x")


@pytest.mark.parametrize(
    "events",
    [
        [RUNNING, QUEUED],
        [HALF, RUNNING],
        [RUNNING, RUNNING],
        [RUNNING, event(2, "running", 0.5)],
        [QUEUED, event(1, "running", 0, "progress")],
        [event(0, "queued", 0, generation_id="y")],
        [event(0, "cancelled", 0)],
        [RUNNING, event(2, "queued", 0.5)],
        [ServerSentEvent("0", "queued", "[]")],
        [ServerSentEvent("0", "queued", "{}")],
    ],
)
def test_events_out_of_order_are_noticed(events: list[ServerSentEvent]) -> None:
    with pytest.raises(WrongAnswer):
        check_events(events, "x")

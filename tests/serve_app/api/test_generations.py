"""Submitting, finding, listing and ending jobs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.access.caller import Caller
from serve_app.api.errors import NotReady, OverLimit, PromptRefused
from serve_app.jobs.job import Fault, Submission
from serve_app.jobs.settings import JobsSettings
from tests.serve_app.api.jobs_reference import BODY, DecodingBackend, ReferenceJobs, job_service, submitted
from tests.serve_app.api.service import CARDS, ask, call, fault, service

PATH = "/v1/generations"
UNKNOWN = "0" * 32


class Door:
    """Does what the middleware at the door does: leaves in the request's state who asks, and what there is to ask."""

    def __init__(self, app: ASGIApp, **state: Any) -> None:
        self.app = app
        self.state = state
        self.seen: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

        await app({**scope, "state": dict(self.state)}, receive, send)


def submit(jobs: ReferenceJobs, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return asyncio.run(submitted(job_service(jobs), headers, **body))


def test_a_submission_is_answered_with_the_generation_in_the_queue() -> None:
    jobs = ReferenceJobs()
    response = submit(jobs, prompt="  a   tone ", seed=7, variations=2, queue="realtime")
    assert response.status_code == 202
    [submission] = jobs.submissions
    document = response.json()
    path = f"{PATH}/{document['id']}"
    assert response.headers["location"] == path
    take = {"state": "queued", "progress": 0.0, "music_id": None, "error": None}
    assert document == {
        "id": document["id"],
        "state": "queued",
        "progress": 0.0,
        "position": 1,
        "queue": "realtime",
        "model_id": "etude",
        "license": "MIT",
        "prompt": "a tone",
        "music_length_ms": 100,
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": None,
        "ended_at": None,
        "timing": {"queued_s": None, "running_s": None},
        "variations": [
            {"number": 0, "seed": 7, "links": {"audio": f"{path}/audio?variation=0"}, **take},
            {"number": 1, "seed": 8, "links": {"audio": f"{path}/audio?variation=1"}, **take},
        ],
        "links": {"self": path, "events": f"{path}/events", "audio": f"{path}/audio"},
    }
    assert (submission.tenant, submission.key_id, submission.queue) == ("local", "", "realtime")
    assert (submission.num_frames, submission.seeds, submission.request.seed) == (5, (7, 8), 7)
    assert submission.request.request_id == response.headers["x-request-id"]


def test_a_generation_is_told_as_it_stands() -> None:
    async def scenario() -> tuple[dict[str, Any], dict[str, Any]]:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        path = (await submitted(app, variations=2, seed=1)).headers["location"]
        job_id = path.rpartition("/")[2]
        jobs.now_s += 1.5
        jobs.begin(job_id)
        jobs.save(job_id, 2)
        running = (await ask(app, "GET", path)).json()
        jobs.now_s += 2
        jobs.succeed(job_id)
        jobs.now_s += 0.25
        jobs.fail(job_id, Fault("worker_lost_twice", "Two workers were lost."), 1)
        return running, (await ask(app, "GET", path)).json()

    running, ended = asyncio.run(scenario())
    assert (running["state"], running["progress"], running["position"]) == ("running", 0.2, None)
    assert running["timing"] == {"queued_s": 1.5, "running_s": None}
    assert running["variations"][0]["progress"] == 0.4
    assert (ended["state"], ended["ended_at"]) == ("failed", "2023-11-14T22:13:23.750Z")
    assert ended["timing"] == {"queued_s": 1.5, "running_s": 2.25}
    assert [each["state"] for each in ended["variations"]] == ["succeeded", "failed"]
    assert len(ended["variations"][0]["music_id"]) == 32
    assert ended["variations"][1]["error"] == {"type": "worker_lost_twice", "message": "Two workers were lost."}


@pytest.mark.parametrize(
    ("body", "seeds"),
    [
        ({}, (None,)),
        ({"variations": 1, "seed": 5}, (5,)),
        ({"variations": 3, "seed": 2**64 - 2}, (2**64 - 2, 2**64 - 1, 0)),
    ],
)
def test_variations_have_the_seeds_that_follow_the_given_one(body: dict[str, int], seeds: tuple[int | None]) -> None:
    jobs = ReferenceJobs()
    assert submit(jobs, **body).status_code == 202
    assert jobs.submissions[0].seeds == seeds


def test_several_variations_without_a_seed_have_random_ones() -> None:
    jobs = ReferenceJobs()
    submit(jobs, variations=8)
    seeds = jobs.submissions[0].seeds
    assert len(set(seeds)) == 8
    assert all(seed is not None and 0 <= seed < 2**53 for seed in seeds)
    assert jobs.submissions[0].request.seed == seeds[0]


def test_the_same_key_and_body_are_the_same_generation_however_spelt_and_whatever_was_drawn() -> None:
    async def scenario() -> list[httpx.Response]:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        key = {"Idempotency-Key": "mine ~!"}
        first = await submitted(app, key, variations=2)
        jobs.begin(first.json()["id"])
        spelt = b'{"prompt": "a  tone", "music_length_ms": 1e2, "queue": "batch", "seed": null, "variations": 2.0}'
        again = [
            await submitted(app, key, variations=2),
            await ask(app, "POST", PATH, content=spelt, headers=key),
        ]
        assert len(jobs.submissions) == 1
        other = await submitted(app, key, variations=3)
        assert fault(other)["param"] == "Idempotency-Key"
        fresh = await submitted(app, {"Idempotency-Key": "other"}, variations=2)
        assert fresh.json()["id"] != first.json()["id"]
        return [first, *again, other, fresh]

    first, again, spelt, other, fresh = asyncio.run(scenario())
    assert [each.status_code for each in (first, again, spelt, other, fresh)] == [202, 200, 200, 422, 202]
    seeds = [[take["seed"] for take in each.json()["variations"]] for each in (first, again, spelt)]
    assert seeds[0] == seeds[1] == seeds[2]
    assert again.json()["state"] == "running"
    assert again.headers["location"] == first.headers["location"]


@pytest.mark.parametrize("key", ["", "a" * 201, "é", "a\tb", "canary\x7f"])
def test_a_key_that_is_none_is_refused_by_the_header_s_name(key: str) -> None:
    jobs = ReferenceJobs()
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    response = call(job_service(jobs), "POST", PATH, json=BODY, headers=headers)
    assert (response.status_code, fault(response)["param"]) == (422, "Idempotency-Key")
    assert not jobs.calls


def test_two_keys_are_refused() -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    response = call(job_service(ReferenceJobs()), "POST", PATH, json=BODY, headers=headers)
    assert fault(response)["param"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("body", "param", "rule"),
    [
        ({"variations": 0}, "variations", "from 1"),
        ({"variations": 9}, "variations", "from 1 to 8"),
        ({"variations": True}, "variations", "an integer"),
        ({"queue": "express"}, "queue", '"realtime" or "batch"'),
        ({"prompt": ""}, "prompt", "blank"),
        ({"music_length_ms": 30_001}, "music_length_ms", "30000"),
        ({"model_id": "x"}, "model_id", "one of"),
        ({"variation": 2}, "variation", 'did you mean "variations"?'),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_would_be(body: dict[str, object], param: str, rule: str) -> None:
    jobs = ReferenceJobs()
    response = submit(jobs, **body)
    assert response.status_code == 422
    assert fault(response)["param"] == param
    assert rule in fault(response)["message"]
    assert not jobs.calls


def test_a_model_that_has_never_been_loaded_is_not_ready() -> None:
    jobs = ReferenceJobs()
    response = submit(jobs, model_id="small")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert not jobs.calls


def test_a_full_queue_is_told_with_when_to_come_again() -> None:
    async def scenario() -> httpx.Response:
        app = job_service(ReferenceJobs(max_queued=1))
        await submitted(app)
        return await submitted(app)

    response = asyncio.run(scenario())
    assert (response.status_code, fault(response)["type"], response.headers["retry-after"]) == (429, "too_busy", "5")


def with_unaccepted_licence() -> DecodingBackend:
    backend = DecodingBackend()
    backend.cards = (replace(CARDS[0], accepted=False, license="CC-BY-NC-4.0"), CARDS[1])
    return backend


@pytest.mark.parametrize("path", [PATH, "/v1/music", "/v1/music/stream"])
def test_a_licence_that_is_not_accepted_is_named_and_nothing_is_made(path: str) -> None:
    jobs, backend = ReferenceJobs(), with_unaccepted_licence()
    response = call(job_service(jobs, backend), "POST", path, json=BODY)
    assert (response.status_code, fault(response)["type"]) == (403, "license_not_accepted")
    assert "CC-BY-NC-4.0" in fault(response)["message"]
    assert not jobs.calls
    assert not backend.requests


class Asked:
    """What was asked at the door, in order; answers with an error if there is one."""

    def __init__(self, refusal: Exception | None = None, charge: Exception | None = None) -> None:
        self.refusal = refusal
        self.charge = charge
        self.questions: list[object] = []

    async def allow_prompt(self, prompt: str) -> None:
        self.questions.append(prompt)
        if self.refusal is not None:
            raise self.refusal

    async def admit(self, audio_s: float) -> None:
        self.questions.append(audio_s)
        if self.charge is not None:
            raise self.charge


def asked_at_the_door(
    asked: Asked, path: str, jobs: ReferenceJobs, **body: object
) -> tuple[httpx.Response, dict[str, Any]]:
    """The answer, and what the request's state says for the audit."""
    states: list[dict[str, Any]] = []

    class Keep:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            states.append(scope["state"])
            await self.app(scope, receive, send)

    app = job_service(jobs)
    app.user_middleware.append(Middleware(Keep))  # the innermost
    caller = Caller("acme", "k1", "acme's")
    door = Door(app, caller=caller, allow_prompt=asked.allow_prompt, admit=asked.admit)
    response = asyncio.run(ask_at(door, path, {**BODY, **body}))
    return response, states[0]


async def ask_at(door: ASGIApp, path: str, body: dict[str, object]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://service") as client:
        return await client.post(path, json=body)


@pytest.mark.parametrize(("path", "body", "audio_s"), [(PATH, {"variations": 3}, 0.3), ("/v1/music", {}, 0.1)])
def test_the_words_are_judged_and_the_music_charged_before_it_is_made(
    path: str, body: dict[str, object], audio_s: float
) -> None:
    asked, jobs = Asked(), ReferenceJobs()
    response, state = asked_at_the_door(asked, path, jobs, **body)
    assert response.is_success
    assert asked.questions == ["a tone", pytest.approx(audio_s)]
    assert state["prompt"] == "a tone"
    assert state["model"] == "etude"
    assert state["audio_s"] == pytest.approx(audio_s)
    if path == PATH:
        assert state["generation"] == response.json()["id"]
        assert (jobs.submissions[0].tenant, jobs.submissions[0].key_id) == ("acme", "k1")
        assert jobs.submissions[0].request.scope == "acme's"
    else:
        assert state["generation"] == response.headers["x-generation-id"]


def test_a_stream_is_told_to_the_audit_too() -> None:
    response, state = asked_at_the_door(Asked(), "/v1/music/stream", ReferenceJobs())
    assert state["generation"] == response.headers["x-generation-id"]


@pytest.mark.parametrize("path", [PATH, "/v1/music", "/v1/music/stream"])
def test_what_is_refused_at_the_door_is_not_charged_nor_made(path: str) -> None:
    asked, jobs = Asked(refusal=PromptRefused("No.")), ReferenceJobs()
    response, state = asked_at_the_door(asked, path, jobs)
    assert (response.status_code, fault(response)["type"]) == (403, "prompt_refused")
    assert asked.questions == ["a tone"]
    assert "audio_s" not in state
    asked = Asked(charge=OverLimit("Later.", retry_after_s=7))
    response, state = asked_at_the_door(asked, path, jobs)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert "audio_s" not in state
    assert not jobs.calls


def test_nothing_is_asked_at_the_door_of_a_body_that_is_refused() -> None:
    asked = Asked()
    assert asked_at_the_door(asked, PATH, ReferenceJobs(), variations=0)[0].status_code == 422
    assert asked.questions == []


def test_pages_follow_one_another_from_the_newest_to_the_oldest() -> None:
    async def scenario() -> None:
        app = job_service(ReferenceJobs())
        ids = [(await submitted(app)).json()["id"] for _ in range(7)]
        seen, sizes = [], []
        following: str | None = f"{PATH}?limit=3"
        while following is not None:
            page = (await ask(app, "GET", following)).json()
            seen += [each["id"] for each in page["generations"]]
            sizes.append(len(page["generations"]))
            following = page["links"]["next"]
        assert seen == ids[::-1]
        assert sizes == [3, 3, 1]
        assert (await ask(app, "GET", f"{PATH}?limit=7")).json()["links"]["next"] is None

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("limit=0", 422, "limit"),
        ("limit=101", 422, "limit"),
        ("limit=+5", 422, "limit"),
        ("limit=%EF%BC%95", 422, "limit"),
        ("limit=", 422, "limit"),
        ("limit=1&limit=1", 422, "limit"),
        ("after=x", 422, "after"),
        (f"before={UNKNOWN}", 404, None),
        ("before=../x", 404, None),
    ],
)
def test_a_page_that_there_is_not_is_refused(query: str, status: int, param: str | None) -> None:
    response = call(job_service(ReferenceJobs()), "GET", f"{PATH}?{query}")
    assert (response.status_code, fault(response)["param"]) == (status, param)


def test_one_under_way_is_cancelled_and_one_that_has_ended_removed() -> None:
    async def scenario() -> None:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        path = (await submitted(app, variations=2)).headers["location"]
        jobs.begin(path.rpartition("/")[2])
        cancelled = await ask(app, "DELETE", path)
        assert cancelled.status_code == 200
        assert [each["state"] for each in cancelled.json()["variations"]] == ["cancelled", "cancelled"]
        assert (await ask(app, "GET", path)).json() == cancelled.json()
        removed = await ask(app, "DELETE", path)
        assert (removed.status_code, removed.content) == (204, b"")
        assert [(await ask(app, method, path)).status_code for method in ("GET", "DELETE")] == [404, 404]

    asyncio.run(scenario())


def test_one_that_ends_while_it_is_to_be_cancelled_stays() -> None:
    class Racing(ReferenceJobs):
        async def cancel(self, tenant: str, job_id: str) -> Any:
            self.succeed(job_id)
            return await super().cancel(tenant, job_id)

    async def scenario() -> None:
        app = job_service(Racing())
        path = (await submitted(app)).headers["location"]
        response = await ask(app, "DELETE", path)
        assert (response.status_code, response.json()["state"]) == (200, "succeeded")
        assert (await ask(app, "GET", path)).status_code == 200

    asyncio.run(scenario())


EVERY_PATH = [
    ("GET", f"{PATH}/{{}}"),
    ("DELETE", f"{PATH}/{{}}"),
    ("GET", f"{PATH}/{{}}/events"),
    ("GET", f"{PATH}/{{}}/audio"),
    ("HEAD", f"{PATH}/{{}}/audio"),
    ("GET", f"{PATH}?before={{}}"),
]


def told(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that an answer says, but for the name of its request."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "x-request-id"]
    return response.status_code, response.content, headers


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
def test_another_s_and_what_does_not_exist_are_one_answer(method: str, path: str) -> None:
    async def scenario() -> None:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        others = (await submitted(app)).json()["id"]
        jobs.succeed(others)
        mine = Door(app, caller=Caller("mine"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(mine), base_url="http://service") as client:
            answers = [await client.request(method, path.format(name)) for name in (others, UNKNOWN, "x")]
        assert answers[0].status_code == 404
        assert told(answers[0]) == told(answers[1]) == told(answers[2])
        assert (await ask(app, "GET", f"{PATH}/{others}")).status_code == 200

    asyncio.run(scenario())


NO_IDS = ["x", "..", "%2e%2e", "%00", "..%2f..%2fetc", "A" * 32, "é" * 32, "%EF%BC%90" * 32, "0" * 31, "0" * 33]
NO_IDS += [f"{UNKNOWN}%0a", "%ff"]


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
def test_what_is_no_id_is_a_404_that_nobody_is_asked_about(method: str, path: str) -> None:
    async def scenario() -> None:
        jobs = ReferenceJobs()
        app = job_service(jobs)
        for name in NO_IDS:
            response = await ask(app, method, path.format(name))
            # The client itself makes the address of all generations, or none, of one that leads upwards.
            assert response.status_code == 404 or (response.status_code, name) == (405, "..")
            assert not jobs.calls

    asyncio.run(scenario())


@pytest.mark.parametrize(("method", "path"), EVERY_PATH[:3])
def test_an_unknown_parameter_is_refused(method: str, path: str) -> None:
    jobs = ReferenceJobs()
    response = call(job_service(jobs), method, path.format(UNKNOWN) + "?x=1")
    assert (response.status_code, fault(response)["param"]) == (422, "x")
    assert not jobs.calls


@pytest.mark.parametrize(("method", "path"), [("POST", PATH), *EVERY_PATH])
def test_records_that_can_t_be_reached_are_a_503_with_when_to_come_again(method: str, path: str) -> None:
    class Down(ReferenceJobs):
        async def submit(self, submission: Submission) -> Any:
            raise NotReady("The records can't be reached.")

        async def find(self, tenant: str, job_id: str) -> Any:
            raise NotReady("The records can't be reached.")

        async def page(self, tenant: str, limit: int, before: str | None) -> Any:
            raise NotReady("The records can't be reached.")

    response = call(job_service(Down()), method, path.format(UNKNOWN), **({"json": BODY} if method == "POST" else {}))
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (PATH, "GET, POST"),
        (f"{PATH}/{UNKNOWN}", "DELETE, GET"),
        (f"{PATH}/{UNKNOWN}/events", "GET"),
        (f"{PATH}/{UNKNOWN}/audio", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_all_the_right_ones(path: str, allow: str) -> None:
    response = call(job_service(ReferenceJobs()), "PUT", path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)


def test_links_lead_through_the_path_under_which_the_service_is_mounted() -> None:
    async def scenario() -> None:
        app = job_service(ReferenceJobs())
        transport = httpx.ASGITransport(app, root_path="/studio")
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answer = await client.post(f"/studio{PATH}", json=BODY)
            assert answer.headers["location"].startswith("/studio/v1/generations/")
            again = await client.get(answer.json()["links"]["self"])
            assert again.json() == answer.json()

    asyncio.run(scenario())


def test_a_model_that_is_no_longer_on_offer_has_no_licence_to_tell() -> None:
    async def scenario() -> Any:
        jobs, backend = ReferenceJobs(), DecodingBackend()
        app = job_service(jobs, backend)
        path = (await submitted(app)).headers["location"]
        backend.cards = CARDS[1:]
        return (await ask(app, "GET", path)).json()["license"]

    assert asyncio.run(scenario()) is None


def test_without_jobs_there_are_no_paths_of_jobs() -> None:
    assert call(service(), "POST", PATH, json=BODY).status_code == 404
    assert PATH not in call(service(), "GET", "/openapi.json").json()["paths"]


def test_the_document_has_the_most_variations_that_the_settings_allow() -> None:
    app = job_service(ReferenceJobs(), jobs_settings=JobsSettings(max_variations=3))
    body = call(app, "GET", "/openapi.json").json()["components"]["schemas"]["GenerationBody"]
    assert body["properties"]["variations"]["maximum"] == 3


def test_nothing_of_a_refused_submission_is_echoed() -> None:
    canary = "canary-7f3a"
    bodies: list[object] = [
        {**BODY, "queue": canary},
        {**BODY, canary * 9: 1},
        [canary],
        {**BODY, "prompt": f"{canary}\0"},
    ]
    for body in bodies:
        response = call(job_service(ReferenceJobs()), "POST", PATH, content=json.dumps(body).encode())
        assert response.status_code == 422
        assert canary not in response.text

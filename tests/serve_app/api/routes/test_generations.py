"""Submitting, finding, listing and ending jobs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from serve_app.job import Fault
from serve_app.settings.application import JobsSettings
from tests.serve_app.api.jobs_reference import BODY, DecodingBackend, ReferenceJobs, job_service, submitted
from tests.serve_app.api.service import CARDS, ask, call, fault, service

PATH = "/v1/generations"


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
    take = {"state": "queued", "progress": 0.0, "music_id": None, "error": None, "sound": None}
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
    assert (submission.tenant, submission.key_id, submission.request.queue) == ("local", "", "realtime")
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

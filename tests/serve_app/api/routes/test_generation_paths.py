"""Pages, ids and methods: what there is, and that what is another's is not."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from serve_app.errors import NotReady
from serve_app.identity import Caller
from serve_app.job import Submission
from tests.serve_app.api.jobs_reference import BODY, ReferenceJobs, job_service, submitted
from tests.serve_app.api.routes.test_generation_access import Door
from tests.serve_app.api.service import ask, call, fault

PATH = "/v1/generations"
UNKNOWN = "0" * 32


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

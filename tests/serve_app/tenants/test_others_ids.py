"""Another tenant's id is answered like one that there is not, byte for byte, on every path that takes one."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from serve_app.api.middleware.observability import METHODS
from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.house import REVOKED, House, house
from tests.serve_app.tenants.studio import FAILING_SEED, HELD_SEED
from tests.serve_app.tenants.view import bare

GENERATIONS = "/v1/generations"
ONE = f"{GENERATIONS}/{{id}}"
# What there is: whoever adds to it adds to these tests, or to `test_sequences.py`, what a tenant may find there.
OPERATIONS = {
    ("get", "/"),
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/v1/models"),
    ("post", "/v1/music"),
    ("post", "/v1/music/stream"),
    ("post", GENERATIONS),
    ("get", GENERATIONS),
    ("get", ONE),
    ("delete", ONE),
    ("get", f"{ONE}/events"),
    ("get", f"{ONE}/audio"),
    ("head", f"{ONE}/audio"),
}
PARAMETERS = {
    ("header", "X-Request-Id"),
    ("header", "Idempotency-Key"),
    ("header", "Last-Event-ID"),
    ("header", "If-None-Match"),
    ("header", "If-Range"),
    ("header", "Range"),
    ("path", "id"),
    ("query", "before"),
    ("query", "limit"),
    ("query", "output_format"),
    ("query", "variation"),
}
# Headers and queries that come to something where the job is one's own.
HEADERS: Sequence[dict[str, str]] = (
    {},
    {"Range": "bytes=0-9"},
    {"Range": "bytes=999999-"},
    {"If-None-Match": "*"},
    {"If-None-Match": "ETAG"},
    {"If-Range": "ETAG", "Range": "bytes=0-9"},
    {"Last-Event-ID": "0"},
    {"Last-Event-ID": "nonsense"},
    {"Idempotency-Key": "one"},
    {"Content-Type": "application/json"},
)
QUERIES = ("", "?variation=0", "?variation=1&output_format=pcm", "?variation=99", "?before=ID", "?nonsense=1")


def described(opened: House) -> set[tuple[str, str, frozenset[tuple[str, str]]]]:
    """Every method and path of the document, with where its parameters stand and what they are called."""
    return {
        (method, path, frozenset((each["in"], each["name"]) for each in operation.get("parameters", [])))
        for path, operations in opened.app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


async def every_kind(opened: House) -> dict[str, str]:
    """Paths of anna's jobs, by the state they are in."""

    async def one(**fields: Any) -> str:
        answer = await opened.submit("a", {"Idempotency-Key": f"key {len(paths)}"}, **fields)
        assert answer.status_code == 202
        return str(answer.headers["location"])

    paths: dict[str, str] = {}
    paths["succeeded"] = await one(seed=1, variations=2)
    paths["running"] = await one(seed=HELD_SEED)
    paths["failed"] = await one(seed=FAILING_SEED)
    await opened.work()
    paths["queued"] = await one(seed=2)
    paths["cancelled"] = await one(seed=3)
    await opened.ask("a", "DELETE", paths["cancelled"])
    for state, path in paths.items():
        assert (await opened.ask("a", "GET", path)).json()["state"] == state
    paths["removed"] = await one(seed=4)
    assert (await opened.ask("a", "DELETE", paths["removed"])).status_code == 200
    assert (await opened.ask("a", "DELETE", paths["removed"])).status_code == 204
    return paths


async def seen_by_anna(opened: House) -> bytes:
    return (await opened.ask("a", "GET", GENERATIONS)).content


def test_the_document_names_no_path_method_or_parameter_that_these_tests_do_not_know(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            there = described(opened)
            assert {(method, path) for method, path, _ in there} == OPERATIONS
            assert {each for _, _, parameters in there for each in parameters} == PARAMETERS

    run(test)


def test_whatever_is_asked_of_anothers_job_there_is_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            paths = await every_kind(opened)
            etag = (await opened.ask("a", "HEAD", f"{paths['succeeded']}/audio")).headers["etag"]
            before = await seen_by_anna(opened)
            known = [(method.upper(), path.removeprefix(ONE)) for method, path, _ in described(opened) if ONE in path]
            suffixes = {suffix for _, suffix in known}
            asked = [
                *((method, suffix, {}, "") for method, suffix in itertools.product(METHODS, suffixes)),
                *((*operation, headers, "") for operation, headers in itertools.product(known, HEADERS)),
                *((*operation, {}, query) for operation, query in itertools.product(known, QUERIES)),
            ]
            random = f"{GENERATIONS}/{uuid.uuid4().hex}"
            for method, suffix, headers, query in asked:
                sent = {name: value.replace("ETAG", etag) for name, value in headers.items()}
                expected = await opened.ask("b", method, f"{random}{suffix}{query}", headers=sent)
                assert expected.status_code in (404, 405, 422)
                for state, path in paths.items():
                    theirs = f"{path}{suffix}{query.replace('ID', path.rpartition('/')[2])}"
                    answer = await opened.ask("b", method, theirs, headers=sent)
                    assert bare(answer) == bare(expected), (method, state, suffix, sent, query)
            assert await seen_by_anna(opened) == before, "nothing was cancelled or removed"

    run(test)


@pytest.mark.parametrize("spelt", ["{}/", "{}%00", "{}/../{}", "%2e%2e/{}", "{}//events", "{}.json"])
def test_however_anothers_id_is_spelt(tmp_path: Path, spelt: str) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            path = (await opened.submit("a")).headers["location"]
            theirs, random = path.rpartition("/")[2], uuid.uuid4().hex
            for change in (str, str.upper):
                answers = [
                    await opened.ask("b", "GET", f"{GENERATIONS}/{spelt.replace('{}', change(each))}")
                    for each in (theirs, random)
                ]
                assert answers[0].status_code == 404
                assert bare(answers[0]) == bare(answers[1])

    run(test)


def test_no_page_goes_on_from_anothers_job(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            paths = await every_kind(opened)
            await opened.submit("b")
            expected = await opened.ask("b", "GET", f"{GENERATIONS}?before={uuid.uuid4().hex}")
            assert expected.status_code == 404
            for path in paths.values():
                answer = await opened.ask("b", "GET", f"{GENERATIONS}?before={path.rpartition('/')[2]}")
                assert bare(answer) == bare(expected)

    run(test)


def test_a_second_key_of_the_tenant_reaches_all_of_it_and_a_revoked_one_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            for path in (await every_kind(opened)).values():
                for suffix in ("", "/audio"):
                    own = await opened.ask("a", "GET", path + suffix)
                    assert bare(await opened.ask("a2", "GET", path + suffix)) == bare(own)
                refused = await opened.ask(REVOKED, "GET", path)
                assert refused.status_code == 401
                assert bare(refused) == bare(await opened.ask(None, "GET", path))
            assert bare(await opened.ask("a2", "GET", GENERATIONS)) == bare(await opened.ask("a", "GET", GENERATIONS))

    run(test)


def test_the_same_idempotency_key_is_another_job_of_each_tenant(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            key = {"Idempotency-Key": "one"}
            first, theirs = await opened.submit("a", key, seed=1), await opened.submit("b", key, seed=2)
            assert (first.status_code, theirs.status_code) == (202, 202)
            assert first.json()["id"] != theirs.json()["id"]
            assert (await opened.submit("a2", key, seed=1)).json()["id"] == first.json()["id"]
            assert (await opened.submit("b", key, seed=1)).status_code == 422

    run(test)

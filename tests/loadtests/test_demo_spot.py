"""What the demonstration says is what was seen: its parts one by one."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loadtests.demo_spot import _meanwhile
from loadtests.fleet.kinds import ON_DEMAND, SPOT
from loadtests.load.sample import Sample
from loadtests.spot.client import Client
from loadtests.spot.evidence import Chapter, Evidence
from loadtests.spot.losses import LossLog, losses
from loadtests.spot.picture import draw
from loadtests.spot.placement import BATCH, REALTIME, Placement, placement
from loadtests.spot.reference import LANES, Reference, Take
from loadtests.spot.story import alive
from loadtests.spot.table import table, verdict
from serve_app.pipeline.shared_windows import SharedWindows

PNG = b"\x89PNG\r\n\x1a\n"
LINE = "WARNING {},123 musicgen_pipeline hti9akop c03c -- generation {} lost its worker at frame {} (Died)"
DIGEST = "ab" * 32
NOTICE = Chapter("notice", 20.0, 45.0, 32.0, 60.0, drained=True)


def reference(number: int) -> Reference:
    return Reference(number, "a waltz", number, 1000)


def take(number: int, began_s: float, ended_s: float, *lost_s: float, sha256: str = DIGEST) -> Take:
    """Made evenly, and for a second not at all where it lost its worker."""
    took_s = ended_s - began_s
    times = [began_s + took_s * i / 4 for i in range(5)]
    made = [0.0, 0.25, 0.5, 0.75, 1.0]
    return Take(
        reference(number), began_s, ended_s, f"{number:016x}", times, made, list(lost_s), [7] * len(lost_s), 3, sha256
    )


def sample(at_s: float, ms: float, name: str = "compose", method: str = "POST", **more: object) -> Sample:
    return replace(Sample(method, name, at_s, ms, audio_s=4.0), **more)  # type: ignore[arg-type]


def evidence(**other: object) -> Evidence:
    """Of a demonstration in which all is well; times from 10 s on."""
    seen = [Placement(10.0 + i, {(REALTIME, ON_DEMAND): 1, (BATCH, SPOT): 2}, frozenset("ab"), 0) for i in range(90)]
    samples = [sample(10.0 + i, 1500.0) for i in range(80)]
    samples += [sample(30.0, 0.0, "longest gap", "AUDIO"), sample(62.0, 250.0, "longest gap", "AUDIO")]
    found = Evidence(
        began_s=10.0,
        chapters=[NOTICE, Chapter("kill", 60.0, 60.1, 66.5, 90.0, drained=False)],
        samples=samples,
        losses_s=[31.0, 31.5, 64.0],
        takes=[take(1, 20.0, 40.0, 31.0), take(2, 30.0, 34.0, sha256=""), take(3, 58.0, 78.0, 64.0)],
        undisturbed=[take(1, 95.0, 99.0), take(3, 95.0, 99.0)],
        placements=seen,
    )
    return replace(found, **other)  # type: ignore[arg-type]


def test_all_is_well_when_nothing_failed_all_is_equal_and_both_events_moved_a_clip() -> None:
    assert evidence().faults() == []
    assert "none of 80 requests failed; all 3 jobs of the demonstration finished, and 2 that had lost" in verdict(
        evidence()
    )


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (
            {"samples": [sample(1, 2, end="wrong", failure="it broke off")]},
            "1 of 1 requests failed: POST compose: it bro",
        ),
        ({"samples": [sample(1, 5000, end="cut off")]}, "1 of 1 requests failed: POST compose: no end of it came"),
        ({"takes": [take(1, 20, 40, 31, 61, sha256="00")]}, "clips 1 are not the undisturbed ones"),
        ({"takes": [replace(take(1, 20, 40, 31, 61), error="JobFailed: no")]}, "clip 1 failed at 20 s: JobFailed: no"),
        ({"takes": [take(1, 20, 40, 31, 61, sha256="")]}, "clips 1 are not the undisturbed ones"),
        ({"undisturbed": [take(1, 95, 99)]}, "clips 3 are not the undisturbed ones"),
        ({"takes": [take(1, 20, 40, 31)]}, "nothing is shown of the kill: no clip lost its worker by it"),
        (
            {"chapters": [replace(NOTICE, drained=False)]},
            "the node with a notice was not drained before the cloud took",
        ),
        ({"placements": [Placement(1, {}, frozenset(), 1)]}, "a real-time worker was on a spot node"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_said(other: dict[str, object], fault: str) -> None:
    [told] = evidence(**other).faults()
    assert told.startswith(fault)
    assert verdict(evidence(**other)) == told


def test_who_was_refused_or_met_by_the_end_is_no_failure() -> None:
    samples = [sample(1, 5, method="429", end="refused"), sample(2, 10, end="cut off"), sample(3, 100)]
    seen = evidence(samples=samples)
    assert seen.faults() == []
    assert len(seen.requests) == 1
    assert "1 requests were put off (429)" in verdict(seen)


def test_a_clip_s_pause_is_between_what_was_made_before_and_after_it_lost_its_worker() -> None:
    lost = take(1, 20.0, 40.0, 31.0)
    assert lost.pause_s(31.0) == 5.0
    assert lost.pause_s(22.0) == 0.0, "nothing of it was made by then"
    assert lost.pause_s(41.0) == 0.0, "all of it was"
    assert evidence().longest_pause_s(evidence().chapters[0]) == 5.0


def test_the_table_has_a_line_for_each_event_and_one_for_each_clip_that_moved() -> None:
    events, clips = table(evidence()).split("\n\n")
    assert [re.split(" {2,}", line) for line in events.splitlines()[1:]] == [
        ["nothing yet", "-", "-", "-", "-", "-", "-", "0.0", "9", "0"],
        ["notice, drained", "10", "25.0", "12.0", "2", "1", "5.0", "0.0", "40", "0"],
        ["killed, no notice", "50", "0.1", "6.5", "1", "1", "5.0", "0.2", "30", "0"],
    ]
    assert [re.split(" {2,}", line) for line in clips.splitlines()[1:]] == [
        ["1", "notice", "7", "5.0", "3", "abababababab", "yes"],
        ["3", "kill", "7", "5.0", "3", "abababababab", "yes"],
    ]


def test_the_picture_is_drawn_of_much_and_of_nothing(tmp_path: Path) -> None:
    failing = evidence(takes=[take(1, 20, 40, 31, 61, sha256="00"), replace(take(2, 50, 51), ended_s=None)])
    nothing = evidence(chapters=[], samples=[], losses_s=[], takes=[], placements=[])
    for i, each in enumerate((evidence(), failing, nothing)):
        draw(each, "here", tmp_path / "new" / f"{i}.png")
        assert (tmp_path / "new" / f"{i}.png").read_bytes().startswith(PNG)


def test_losses_are_read_with_their_time_from_all_logs_whatever_the_length_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(LINE.format("2026-11-21 14:37:59", "ab" * 16, 122) + "\nsomething else\n")
    (tmp_path / "b").write_text(LINE.format("2026-11-21 14:37:58", "cd" * 8, 0) + "\n")
    first, second = losses([tmp_path / "a", tmp_path / "b"])
    assert (first.generation, first.frame, second.generation, second.frame) == ("cd" * 8, 0, "ab" * 8, 122)
    assert datetime.fromtimestamp(first.at_s).isoformat() == "2026-11-21T14:37:58.123000"


def test_a_loss_is_told_to_the_take_that_was_under_way(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        LINE.format("2026-11-21 14:37:35", f"{1:016x}", 50) + "\n" + LINE.format("2026-11-21 14:37:36", "9" * 16, 1)
    )
    epoch_s = datetime.fromisoformat("2026-11-21T14:37:00.123").timestamp()
    takes = [take(1, 20, 30), take(1, 30.5, 40), take(2, 20, 40)]
    for _ in range(2):  # once more changes nothing
        LossLog(lambda: [log], epoch_s).tell(takes)
    assert [each.lost_s for each in takes] == [[], [pytest.approx(35.0)], []]
    assert takes[1].lost_at == [50]


def test_replicas_are_counted_by_market_and_a_real_time_one_on_spot_is_noticed_before_it_runs() -> None:
    def replicas(*places: tuple[str, str | None]) -> dict[str, object]:
        return {"replicas": [{"state": state, **({"node_id": node} if node else {})} for state, node in places]}

    markets = {"a": ON_DEMAND, "b": SPOT}
    deployments = {
        REALTIME: replicas(("RUNNING", "a"), ("STARTING", None), ("STARTING", "b")),
        BATCH: replicas(("RUNNING", "b"), ("STOPPING", "a")),
        "pipeline": replicas(("RUNNING", "b")),
    }
    seen = placement(3.0, deployments, markets)
    assert seen.running == {(REALTIME, ON_DEMAND): 1, (BATCH, SPOT): 1}
    assert (seen.batch_nodes, seen.realtime_on_spot, seen.of(BATCH)) == ({"b"}, 1, 1)
    assert placement(3.0, {}, markets).running == {}


def test_each_clip_is_a_job_for_spot_nodes_that_no_cache_has_and_no_other_clip_is_the_same() -> None:
    some = [Reference.numbered(number) for number in range(1, 3 * LANES + 1)]
    assert len({each.seed for each in some}) == len(some)
    assert {(each.body["queue"], each.body["cache"]) for each in some} == {("batch", "off")}
    assert [each.lane for each in some] == 3 * [*range(1, LANES + 1)]


async def submit(request: Request) -> Response:
    asked = await request.json()
    return JSONResponse({"id": f"{asked['seed']}"}, 503 if asked["seed"] == 3 else 202)


async def follow(request: Request) -> Response:
    number = int(request.path_params["number"])
    told = [
        {"state": state, "progress": progress, "variations": [{"music_id": name}]}
        for state, progress, name in (
            ("queued", 0.0, None),
            ("running", 0.5, f"{number:032x}"),
            ("failed" if number == 2 else "succeeded", 1.0, f"{number:032x}"),
        )
    ]
    text = "".join(f"id: {i}\nevent: progress\ndata: {json.dumps(each)}\n\n" for i, each in enumerate(told))
    return Response(text, media_type="text/event-stream")


async def audio(_: Request) -> Response:
    file = io.BytesIO()
    soundfile.write(file, np.full(1000, 0.5), 1000, format="WAV")
    return Response(file.getvalue())


async def remove(_: Request) -> Response:
    return Response(status_code=204)


ROUTES = [
    Route("/v1/generations", submit, methods=["POST"]),
    Route("/v1/generations/{number}/events", follow),
    Route("/v1/generations/{number}/audio", audio),
    Route("/v1/generations/{number}", remove, methods=["DELETE"]),
]


@asynccontextmanager
async def client(log: Path) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(Starlette(routes=ROUTES))
    async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
        yield Client(http, LossLog(lambda: [log], 0.0), time.time)


def test_each_job_is_followed_fetched_and_removed_and_its_end_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    async def scenario() -> list[Take]:
        async with client(tmp_path / "log") as asking:
            for number in (1, 2, 3):
                await asking.make(reference(number), lambda take: True)
            await asking.make(reference(1), lambda take: False)
            assert asking.num_moved == 0
            return asking.takes

    takes = asyncio.run(scenario())
    good, failed, refused, unheard = takes
    assert (unheard.error, unheard.sha256) == (None, "")
    assert (good.error, good.generation, good.progress) == (None, f"{1:032x}"[:16], [0.0, 0.5, 1.0])
    assert good.size_bytes > 2000
    assert "JobFailed: its events ended with" in (failed.error or "")
    assert "JobFailed: POST /v1/generations answers 503" in (refused.error or "")
    assert all(take.ended_s is not None for take in takes)


def test_once_more_comes_after_as_much_other_sound_as_the_service_holds(tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    async def scenario() -> tuple[list[Take], list[Take]]:
        async with client(tmp_path / "log") as asking:
            await asking.make(reference(1), lambda take: True)
            return await asking.once_more([reference(1)]), asking.takes

    [again], [first, *others, last] = asyncio.run(scenario())
    assert last is again
    assert again.sha256 == first.sha256 != ""
    numbers = [each.reference.number for each in others]
    assert 1 not in numbers
    assert len(set(numbers)) == len(numbers)
    held_bytes = sum(each.reference.duration_ms * 32 * 4 for each in others)
    assert held_bytes >= SharedWindows()._max_bytes


def test_what_goes_wrong_beside_ends_the_work() -> None:
    async def ends(value: int) -> int:
        return value

    async def fails() -> None:
        raise OSError("no Locust")

    async def lasts() -> None:
        await asyncio.Event().wait()

    async def returns() -> None:
        pass

    async def work() -> int:
        await lasts()
        return 0

    def run(work: Awaitable[int], *others: Awaitable[None]) -> int:
        async def scenario() -> int:
            return await _meanwhile(work, *others)  # type: ignore[arg-type]

        return asyncio.run(scenario())

    assert run(ends(3), lasts()) == 3
    assert run(ends(3), returns()) == 3
    with pytest.raises(OSError, match="no Locust"):
        run(work(), lasts(), fails())


def test_a_process_that_nobody_has_looked_at_is_dead_all_the_same() -> None:
    ended = psutil.Popen(["true"])
    while alive(ended):
        pass
    assert ended.wait() == 0
    assert not alive(ended)
    assert alive(psutil.Process())

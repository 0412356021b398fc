"""How a clip sounds is found out once, whoever asks for it and however often, and jobs' records say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serve_app.sound.health import HealthMeter
from tests.serve_app.auth.gates import run
from tests.serve_app.pipeline.scripted_stages import SOUND
from tests.serve_app.tenants.house import MODEL, House, house
from tests.serve_app.tenants.studio import steps_of

DURATION_MS = 2000


def expected(seed: int, duration_ms: int = DURATION_MS) -> dict[str, Any]:
    meter = HealthMeter(SOUND.sample_rate)
    meter.add(steps_of(seed, duration_ms))
    return vars(meter.health())


def answered(seed: int) -> dict[str, Any]:
    """The same as a record's answer has it, to four places."""
    return {name: each if isinstance(each, bool) else round(each, 4) for name, each in expected(seed).items()}


async def ask(opened: House, seed: int, path: str = "/v1/music", **fields: Any) -> int:
    """How often anything was counted since the last time."""
    before = len(opened.sounds_made.told)
    answer = await opened.music("a", path, seed=seed, **{"music_length_ms": DURATION_MS, **fields})
    assert answer.status_code == 200
    return len(opened.sounds_made.told) - before


def test_music_is_listened_to_when_it_is_made_and_not_when_it_is_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            assert await ask(opened, 5) == 1
            assert await ask(opened, 5) == 0, "the file was kept"
            assert await ask(opened, 5, "/v1/music/stream") == 0, "the codes were kept"
            assert await ask(opened, 6, "/v1/music/stream") == 1
            assert await ask(opened, 6, music_length_ms=DURATION_MS // 2) == 0, "it was cut"
            assert await ask(opened, 6, music_length_ms=2 * DURATION_MS) == 1, "it was extended"
            assert await ask(opened, 5, cache="off") == 1
            told = [(model, duration_s, vars(health)) for model, duration_s, health in opened.sounds_made.told]
            assert told == [
                (MODEL, 2.0, expected(5)),
                (MODEL, 2.0, expected(6)),
                (MODEL, 4.0, expected(6, 2 * DURATION_MS)),
                (MODEL, 2.0, expected(5)),
            ]

    run(test)


def test_a_jobs_record_says_how_it_sounds_before_anybody_fetches_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            submitted = await opened.submit("a", seed=5, variations=2, music_length_ms=DURATION_MS)
            path = submitted.headers["Location"]
            assert [each["sound"] for each in submitted.json()["variations"]] == [None, None]
            await opened.work()
            document = (await opened.ask("a", "GET", path)).json()
            assert [each["sound"] for each in document["variations"]] == [answered(5), answered(6)]
            assert len(opened.sounds_made.told) == 2
            followed = await opened.follow("a", f"{path}/events")
            event = next(line for line in followed.content.decode().split("\n") if line.startswith("data: "))
            assert json.loads(event.removeprefix("data: ")) == document
            for container in ("wav", "pcm", "wav"):
                answer = await opened.ask("a", "GET", f"{path}/audio?output_format={container}")
                assert answer.status_code == 200
            assert await ask(opened, 5) == 0, "the job made it"
            assert len(opened.sounds_made.told) == 2

    run(test)


def test_a_job_that_finds_its_music_made_says_how_it_sounds_and_counts_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            assert await ask(opened, 5) == 1
            submitted = await opened.submit("a", seed=5, music_length_ms=DURATION_MS)
            await opened.work()
            document = (await opened.ask("a", "GET", submitted.headers["Location"])).json()
            assert document["variations"][0]["sound"] == answered(5)
            assert len(opened.sounds_made.told) == 1

    run(test)

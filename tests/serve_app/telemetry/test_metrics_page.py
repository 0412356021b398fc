from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from serve_app.telemetry.metrics_page import MetricsPage, Sample
from serve_app.telemetry.service_metrics import MODELS


class Source:
    """Gives its number of calls as a sample, once it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.may = asyncio.Event()
        self.error: Exception | None = None

    async def samples(self) -> Sequence[Sample]:
        self.calls += 1
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return [Sample(MODELS, MODELS.name, (("model", "m"), ("node", "n")), self.calls)]


def number(text: bytes) -> float:
    return float(text.decode().split('musicgen_models{model="m",node="n"} ')[1].split("\n")[0])


def test_all_who_ask_at_once_get_one_reading_and_who_asks_later_a_new_one() -> None:
    async def scenario() -> None:
        source = Source()
        page = MetricsPage(source.samples)
        asking = [asyncio.create_task(page.text()) for _ in range(5)]
        await asyncio.sleep(0)
        source.may.set()
        assert [number(text) for text in await asyncio.gather(*asking)] == [1] * 5
        assert number(await page.text()) == 2

    asyncio.run(scenario())


def test_who_leaves_takes_the_reading_from_nobody_else() -> None:
    async def scenario() -> None:
        source = Source()
        page = MetricsPage(source.samples)
        leaving, staying = asyncio.create_task(page.text()), asyncio.create_task(page.text())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        source.may.set()
        assert number(await staying) == 1

    asyncio.run(scenario())


def test_a_failed_reading_is_told_and_the_next_is_a_new_one() -> None:
    async def scenario() -> None:
        source = Source()
        source.may.set()
        page = MetricsPage(source.samples)
        source.error = RuntimeError("no nodes")
        with pytest.raises(RuntimeError, match="no nodes"):
            await page.text()
        source.error = None
        assert number(await page.text()) == 2

    asyncio.run(scenario())

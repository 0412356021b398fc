"""The watch in virtual time: what leads to a drain, and when, and what does not."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from serve_app.spot.draining import DrainError
from serve_app.spot.metadata import MetadataError, Notice, NoticeKind
from serve_app.spot.watcher import OnRebalance, Watcher
from serve_app.spot.watcher_log import NOTICE, WatcherLog
from tests import virtual_time

POLL_S = 5.0
MARGIN_S = 5.0


def now_s() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class FakeCloud:
    """Gives the notices it is set to, or fails. polls: when it was polled."""

    window_s: float = 120.0
    poll_s: float = POLL_S
    said: list[Notice] = field(default_factory=list)
    error: str = ""
    polls: list[float] = field(default_factory=list)

    async def notices(self) -> Sequence[Notice]:
        self.polls.append(now_s())
        if self.error:
            raise MetadataError(self.error)
        return self.said


@dataclass
class FakeNode:
    alive: bool = True
    node_id: str = "ab" * 28

    def is_alive(self) -> bool:
        return self.alive


@dataclass
class FakeDrainer:
    """tried: when, with which message, and what was left. failures: of the first attempts."""

    failures: int = 0
    tried: list[tuple[float, str, float | None]] = field(default_factory=list)

    async def drain(self, node: FakeNode, message: str, remaining_s: float | None) -> None:
        self.tried.append((now_s(), message, remaining_s))
        if len(self.tried) <= self.failures:
            raise DrainError("the control service is away")


class Watch:
    """A watch that has begun, and all around it."""

    def __init__(self, on_rebalance: OnRebalance = OnRebalance.LOG, failures: int = 0, window_s: float = 120) -> None:
        self.cloud, self.node, self.drainer = FakeCloud(window_s), FakeNode(), FakeDrainer(failures)
        self._log = io.StringIO()
        watcher = Watcher(
            self.node, self.cloud, self.drainer, WatcherLog(self._log),  # type: ignore[arg-type]
            poll_s=POLL_S, margin_s=MARGIN_S, on_rebalance=on_rebalance,
        )  # fmt: skip
        self.task = asyncio.ensure_future(watcher.run())

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self._log.getvalue().splitlines()]

    def log(self) -> str:
        return self._log.getvalue()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    virtual_time.run(scenario())  # type: ignore[arg-type]


def test_a_notice_drains_the_node_at_the_next_poll_with_its_deadline_less_the_margin() -> None:
    async def scenario() -> None:
        watch = Watch()
        await asyncio.sleep(62)
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "08:22", 118)]
        await asyncio.sleep(POLL_S)
        assert watch.drainer.tried == [(65, "spot notice: terminate", 118 - MARGIN_S)]
        assert watch.events() == ["notice", "draining"]

    run(scenario)


def test_a_standing_notice_drains_once_and_a_new_one_drains_again() -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.cloud.said = [Notice(NoticeKind.STOP, "08:22", 60)]
        await asyncio.sleep(30)
        watch.cloud.said = [Notice(NoticeKind.STOP, "08:22", 30)]  # less is left of the same
        await asyncio.sleep(30)
        assert len(watch.drainer.tried) == 1
        watch.cloud.said = [Notice(NoticeKind.STOP, "08:20", 20)]
        await asyncio.sleep(POLL_S)
        assert [left_s for _, _, left_s in watch.drainer.tried] == [55, 15]

    run(scenario)


def test_an_instance_without_a_notice_is_polled_for_ever_and_nothing_else_happens() -> None:
    async def scenario() -> None:
        watch = Watch()
        await asyncio.sleep(3600 - 1)
        assert len(watch.cloud.polls) == 720
        assert not watch.drainer.tried
        assert not watch.log()

    run(scenario)


@pytest.mark.parametrize("remaining_s", [-7200, -1, 0, 3])
def test_a_late_notice_drains_all_the_same(remaining_s: float) -> None:
    """Ray is told of one second then (`test_draining`)."""

    async def scenario() -> None:
        watch = Watch()
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "08:22", remaining_s)]
        await asyncio.sleep(1)
        assert [left_s for _, _, left_s in watch.drainer.tried] == [remaining_s - MARGIN_S]

    run(scenario)


def test_no_deadline_is_later_than_what_the_cloud_gives_at_most() -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "2099", 2e9)]
        await asyncio.sleep(1)
        assert [left_s for _, _, left_s in watch.drainer.tried] == [120 - MARGIN_S]

    run(scenario)


def test_a_notice_without_a_time_may_have_stood_since_the_poll_before() -> None:
    async def scenario() -> None:
        watch = Watch(window_s=30)
        watch.cloud.said = [Notice(NoticeKind.PREEMPT)]
        await asyncio.sleep(1)
        assert [left_s for _, _, left_s in watch.drainer.tried] == [30 - POLL_S - MARGIN_S]

    run(scenario)


def test_a_failed_drain_is_retried_with_the_time_left_until_it_is_accepted() -> None:
    async def scenario() -> None:
        watch = Watch(failures=4)
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "08:22", 14)]
        await asyncio.sleep(60)
        assert [(at_s, left_s) for at_s, _, left_s in watch.drainer.tried] == [(0, 9), (1, 8), (3, 6), (7, 2), (12, -3)]
        assert watch.events() == ["notice", *["drain_failed"] * 4, "draining"]
        assert "past the deadline" not in watch.log()

    run(scenario)


def test_a_drain_is_retried_past_the_deadline_for_as_long_as_the_node_lives() -> None:
    async def scenario() -> None:
        watch = Watch(failures=10**6)
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "08:22", 14)]
        await asyncio.sleep(600)
        assert "past the deadline" in watch.log()
        watch.node.alive = False
        await watch.task
        assert watch.events()[-1] == "node_gone"
        assert 100 < len(watch.drainer.tried) < 130

    run(scenario)


def test_a_recommendation_is_logged_once_and_drains_nothing_unless_told() -> None:
    async def scenario() -> None:
        watch = Watch()
        watch.cloud.said = [Notice(NoticeKind.REBALANCE, "08:20")]
        await asyncio.sleep(60)
        assert not watch.drainer.tried
        assert watch.events() == ["rebalance"]
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "08:22", 100)]
        await asyncio.sleep(POLL_S)
        assert len(watch.drainer.tried) == 1

    run(scenario)


def test_a_recommendation_drains_without_a_deadline_when_told_and_an_interruption_brings_one() -> None:
    async def scenario() -> None:
        watch = Watch(OnRebalance.DRAIN)
        watch.cloud.said = [Notice(NoticeKind.REBALANCE, "08:20")]
        await asyncio.sleep(60)
        watch.cloud.said = [Notice(NoticeKind.TERMINATE, "08:22", 100)]
        await asyncio.sleep(60)
        assert [left_s for _, _, left_s in watch.drainer.tried] == [None, 95]

    run(scenario)


def test_a_failing_server_is_polled_less_often_and_logged_once_and_when_it_is_back() -> None:
    async def scenario() -> None:
        watch = Watch()
        await asyncio.sleep(1)
        watch.cloud.error = "GET /x: status 503"
        await asyncio.sleep(99)
        assert watch.cloud.polls == [0, 5, 15, 30, 50, 70, 90]
        assert watch.events() == ["metadata_failed"]
        assert "status 503" in watch.log()
        watch.cloud.error, watch.cloud.said = "", [Notice(NoticeKind.TERMINATE, "08:22", 100)]
        await asyncio.sleep(20)
        assert watch.events() == ["metadata_failed", "metadata_answers", "notice", "draining"]
        assert watch.cloud.polls[-2:] == [110, 115]

    run(scenario)


def test_the_watch_ends_with_the_node() -> None:
    async def scenario() -> None:
        watch = Watch()
        await asyncio.sleep(12)
        watch.node.alive = False
        await watch.task
        assert now_s() == 15
        assert watch.events() == ["node_gone"]

    run(scenario)


def test_a_line_of_the_log_is_one_line_whatever_was_read() -> None:
    log = io.StringIO()
    forged = '\n{"levelname": "INFO"}\x1b[2J\u2028'
    WatcherLog(log, node_id="ab").of(said=forged).tell(NOTICE, why=f"it goes{forged}", remaining_s=None)
    (line,) = log.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    fields = json.loads(line)
    assert (fields["levelname"], fields["event"], fields["node_id"]) == ("WARNING", "notice", "ab")
    assert fields["asctime"].endswith("+00:00")

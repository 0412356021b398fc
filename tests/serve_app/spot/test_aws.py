"""EC2's notices, from a server on the loopback that answers as EC2's does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from loadtests.fleet.metadata_server import ACTION, REBALANCE, TOKEN, MetadataServer, metadata_server
from serve_app.spot.clouds import AwsCloud
from serve_app.spot.metadata import MetadataError, Notice, NoticeKind
from serve_app.spot.metadata import MetadataServer as Client

T = TypeVar("T")


def with_aws(url: str, scenario: Callable[[AwsCloud], Awaitable[T]], timeout_s: float = 20) -> T:
    async def run() -> T:
        async with Client(url, timeout_s) as client:
            return await scenario(AwsCloud(client))

    return asyncio.run(run())


def notices(server: MetadataServer) -> Sequence[Notice]:
    return with_aws(server.url, lambda aws: aws.notices())


def test_without_an_announcement_there_is_no_notice(server: MetadataServer) -> None:
    assert notices(server) == []


@pytest.mark.parametrize("kind", [NoticeKind.TERMINATE, NoticeKind.STOP, NoticeKind.HIBERNATE])
def test_each_action_is_a_notice_with_the_time_that_is_left(server: MetadataServer, kind: NoticeKind) -> None:
    said = server.interrupt(kind.value, in_s=120)
    (notice,) = notices(server)
    assert (notice.kind, notice.said) == (kind, said)
    assert notice.remaining_s == pytest.approx(120, abs=60)  # however slow this machine is


@pytest.mark.parametrize("ahead_s", [-86_400.0, 86_400.0])
def test_the_time_left_is_taken_from_the_clouds_clock_and_not_from_ours(ahead_s: float) -> None:
    with metadata_server(clock=lambda: time.time() + ahead_s) as server:
        server.interrupt("terminate", in_s=120)
        (notice,) = notices(server)
    assert notice.remaining_s == pytest.approx(120, abs=60)


def test_a_recommendation_to_rebalance_is_a_notice_without_an_end(server: MetadataServer) -> None:
    server.rebalance()
    (notice,) = notices(server)
    assert (notice.kind, notice.remaining_s) == (NoticeKind.REBALANCE, None)


def test_an_interruption_comes_before_a_recommendation(server: MetadataServer) -> None:
    server.interrupt("stop", in_s=100)
    server.fail(REBALANCE, 500)
    assert [notice.kind for notice in notices(server)] == [NoticeKind.STOP]


def test_a_notice_read_twice_is_the_same(server: MetadataServer) -> None:
    server.interrupt("terminate", in_s=120)
    first, second = notices(server) + notices(server)
    assert first.identity == second.identity
    server.interrupt("terminate", in_s=90)
    assert notices(server)[0].identity != first.identity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"action": "terminate"}', Notice(NoticeKind.TERMINATE)),
        ('{"action": "stop", "time": "soon"}', Notice(NoticeKind.STOP, "soon")),
        ('{"action": "stop", "time": 7}', Notice(NoticeKind.STOP)),
        ('{"action": "vaporize"}', Notice(NoticeKind.UNKNOWN)),
        ("{}", Notice(NoticeKind.UNKNOWN)),
    ],
)
def test_an_end_with_an_unreadable_action_or_time_is_still_an_end(
    server: MetadataServer, text: str, expected: Notice
) -> None:
    server.say(ACTION, text)
    assert notices(server) == [expected]


@pytest.mark.parametrize("text", ["", "<html>log in</html>", "[]", "7", '{"action": ', "[" * 9999, "x" * 99_999])
@pytest.mark.parametrize("path", [ACTION, REBALANCE])
def test_garbage_is_no_notice_but_an_error(server: MetadataServer, path: str, text: str) -> None:
    server.say(path, text)
    with pytest.raises(MetadataError, match=path):
        notices(server)


@pytest.mark.parametrize("path", [TOKEN, ACTION, REBALANCE])
@pytest.mark.parametrize("status", [302, 400, 403, 429, 500, 503])
def test_any_other_status_is_an_error_that_names_it(server: MetadataServer, path: str, status: int) -> None:
    server.fail(path, status)
    with pytest.raises(MetadataError, match=f"{path}: status {status}"):
        notices(server)


@pytest.mark.parametrize("token", [b"", b"\xff\xfe", b"two\nlines"])
def test_an_invalid_token_is_an_error(server: MetadataServer, token: bytes) -> None:
    server.fail(TOKEN, 200, token)
    with pytest.raises(MetadataError, match="no token"):
        notices(server)


def test_a_token_is_used_until_it_is_refused(server: MetadataServer) -> None:
    async def scenario(aws: AwsCloud) -> None:
        for _ in range(3):
            await aws.notices()
        assert server.asked[TOKEN] == 1
        server.forget_tokens()
        server.interrupt("terminate", in_s=120)
        assert [notice.kind for notice in await aws.notices()] == [NoticeKind.TERMINATE]
        assert server.asked[TOKEN] == 2

    with_aws(server.url, scenario)


def test_a_server_that_takes_no_token_is_an_error_and_not_a_loop(server: MetadataServer) -> None:
    async def scenario(aws: AwsCloud) -> None:
        server.fail(TOKEN, 200, b"not-one-of-its-own")
        with pytest.raises(MetadataError, match="status 401"):
            await aws.notices()
        assert server.asked[TOKEN] == 2

    with_aws(server.url, scenario)


def test_a_server_that_does_not_answer_is_an_error_that_names_the_hop_limit(server: MetadataServer) -> None:
    """In a container with a network of its own the token's answer is lost on the way."""
    server.stall()
    with pytest.raises(MetadataError, match="HttpPutResponseHopLimit"):
        with_aws(server.url, lambda aws: aws.notices(), timeout_s=0.2)


def test_a_server_that_is_not_there_is_an_error() -> None:
    with metadata_server() as gone:
        url = gone.url
    with pytest.raises(MetadataError, match="ConnectError"):
        with_aws(url, lambda aws: aws.notices())

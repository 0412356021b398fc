"""Compute Engine's notice, from a server on the loopback that answers as Google's does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from loadtests.fleet.metadata_server import PREEMPTED, MetadataServer
from serve_app.spot.clouds import GcpCloud
from serve_app.spot.metadata import MetadataError, Notice, NoticeKind
from serve_app.spot.metadata import MetadataServer as Client


def notices(server: MetadataServer) -> Sequence[Notice]:
    async def run() -> Sequence[Notice]:
        async with Client(server.url, timeout_s=20) as client:
            return await GcpCloud(client).notices()

    return asyncio.run(run())


def test_an_instance_that_is_not_preempted_has_no_notice(server: MetadataServer) -> None:
    assert notices(server) == []


def test_a_preempted_instance_has_one_which_names_no_time(server: MetadataServer) -> None:
    server.is_preempted = True
    assert notices(server) == [Notice(NoticeKind.PREEMPT)]


@pytest.mark.parametrize("text", ["", "true", "<html>log in</html>", "TRUE TRUE"])
def test_garbage_is_no_notice_but_an_error(server: MetadataServer, text: str) -> None:
    server.say(PREEMPTED, text)
    with pytest.raises(MetadataError, match="neither TRUE nor FALSE"):
        notices(server)


def test_a_true_from_another_server_is_an_error(server: MetadataServer) -> None:
    server.is_preempted, server.sends_flavor = True, False
    with pytest.raises(MetadataError, match="not Google's"):
        notices(server)


@pytest.mark.parametrize("status", [404, 429, 503])
def test_any_other_status_is_an_error_that_names_it(server: MetadataServer, status: int) -> None:
    server.fail(PREEMPTED, status)
    with pytest.raises(MetadataError, match=f"status {status}"):
        notices(server)

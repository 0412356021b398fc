"""How long a token of EC2's metadata service is used, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

from serve_app.spot.clouds import TOKEN, TOKEN_TTL_S, TTL_HEADER, AwsCloud
from serve_app.spot.metadata import MetadataResponse
from tests import virtual_time


class Counting:
    """Answers at once; a token lives for `ttl`, or for ever if that is no number."""

    def __init__(self, ttl: str) -> None:
        self.ttl = ttl
        self.tokens_at_s: list[float] = []

    async def request(self, method: str, path: str, headers: Mapping[str, str]) -> MetadataResponse:
        if path != TOKEN:
            return MetadataResponse(404, "", {}, 0.0)
        self.tokens_at_s.append(asyncio.get_running_loop().time())
        return MetadataResponse(200, "token", {TTL_HEADER: self.ttl}, 0.0)


def renewals(ttl: str, hours: float) -> list[float]:
    """When a token was requested, in seconds, at a poll every 5 s."""

    async def scenario() -> list[float]:
        server = Counting(ttl)
        aws = AwsCloud(server)  # type: ignore[arg-type]
        for _ in range(int(hours * 720)):
            await aws.notices()
            await asyncio.sleep(5)
        return server.tokens_at_s

    return virtual_time.run(scenario())


def test_a_token_is_renewed_before_it_expires_and_not_sooner() -> None:
    times = renewals(str(TOKEN_TTL_S), hours=13)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) == 2
    assert all(TOKEN_TTL_S - 120 <= gap < TOKEN_TTL_S for gap in gaps)


def test_a_shorter_life_that_the_server_tells_of_counts() -> None:
    times = renewals("600", hours=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(480 <= gap < 600 for gap in gaps)


def test_a_life_that_is_no_number_or_none_at_all_does_no_harm() -> None:
    for ttl in ("", "a while", "-5", "²"):
        assert len(renewals(ttl, hours=5)) == 1
    assert len(renewals("0", hours=0.1)) == 72  # one for each poll

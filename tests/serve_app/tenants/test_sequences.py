"""Whatever two tenants do in one house, each sees what it would see if it had the house to itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.commands import NO_ID, Command, Page, Release, Touch, Work, World
from tests.serve_app.tenants.drawn import RIGHT_KEYS, TENANTS, drawn
from tests.serve_app.tenants.house import KEYS, house
from tests.serve_app.tenants.view import bare, view

MAX_QUEUED = 5
# A second for each piece of music, however short: a busy key comes to its end.
AUDIO_S_PER_MINUTE = 25


async def compare(commands: Sequence[Command], folder: Path) -> None:
    """Does the same in a house that both share, and in one for each tenant where the other does nothing."""
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> World:
            (folder / name).mkdir()
            limits = {"audio_s_per_minute": AUDIO_S_PER_MINUTE}
            return World(await stack.enter_async_context(house(folder / name, limits=limits, max_queued=MAX_QUEUED)))

        shared, alone = await opened("shared"), {tenant: await opened(tenant) for tenant in TENANTS}
        for number, command in enumerate([*commands, *(Page(key, 100, None) for key in RIGHT_KEYS), Release(), Work()]):
            if isinstance(command, Work | Release):
                for world in (shared, *alone.values()):
                    await world.do(command)
                continue
            tenant = KEYS[command.key]
            there, here = await shared.do(command), await alone[tenant].do(command)
            assert there is not None
            assert here is not None
            seen = view(there, shared.names[tenant])
            assert seen == view(here, alone[tenant].names[tenant]), (number, command)
            if isinstance(command, Touch) and command.ref.tenant != tenant:
                assert bare(there) == bare(await shared.touch(command, NO_ID)), (number, command)
        told = [shared.names[tenant].told() for tenant in TENANTS]
        assert min(map(len, told)) >= 4, "they have done something"
        assert not set.intersection(*told), "a name of the one's was told to the other"


@pytest.mark.parametrize("seed", range(3))
def test_a_tenant_sees_what_it_would_see_alone(tmp_path: Path, seed: int) -> None:
    run(lambda: compare(drawn(seed, 60), tmp_path))


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1020))
def test_a_tenant_sees_what_it_would_see_alone_in_the_long_run(tmp_path: Path, seed: int) -> None:
    run(lambda: compare(drawn(seed, 200), tmp_path))

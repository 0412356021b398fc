"""Whatever two tenants do in one house, each sees what it would see if it had the house to itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serve_app.access.gates import run
from tests.serve_app.tenants.commands import NO_ID, Command, Music, Page, Ref, Release, Submit, Touch, Work, World
from tests.serve_app.tenants.house import KEYS, REVOKED, house
from tests.serve_app.tenants.studio import FAILING_SEED, HELD_SEED
from tests.serve_app.tenants.view import Answer, view

MAX_QUEUED = 4
AUDIO_S_PER_MINUTE = 3
TENANTS = sorted(set(KEYS.values()))

_keys = st.sampled_from([name for name in KEYS if name != REVOKED])
_refs = st.builds(Ref, st.sampled_from(TENANTS), st.integers(0, 5))
_lengths = st.sampled_from([100, 200])
_headers = st.lists(
    st.one_of(
        st.tuples(st.just("If-None-Match"), _refs),
        st.tuples(st.just("If-Range"), _refs),
        st.tuples(st.just("Range"), st.sampled_from(["bytes=0-99", "bytes=5-", "bytes=99999-"])),
        st.tuples(st.just("Last-Event-ID"), st.sampled_from(["0", "3"])),
    ),
    max_size=2,
    unique_by=lambda header: header[0],
).map(tuple)


def _fields(seeds: Sequence[int | None], **more: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    fields = {
        "prompt": st.sampled_from(["a tone", "two tones"]),
        "music_length_ms": _lengths,
        "seed": st.sampled_from(seeds),
        "cache": st.sampled_from(["use", "use", "refresh", "off"]),
        **more,
    }
    return st.fixed_dictionaries(fields).map(lambda chosen: tuple(chosen.items()))


_submit = st.builds(
    Submit,
    _keys,
    st.sampled_from([None, "one", "two"]),
    _fields(
        [None, 1, 1, HELD_SEED, FAILING_SEED],
        variations=st.integers(1, 2),
        queue=st.sampled_from(["batch", "realtime"]),
    ),
)
_touch = st.builds(
    Touch,
    _keys,
    _refs,
    st.sampled_from(["GET", "DELETE", "events", "GET audio", "HEAD audio"]),
    st.integers(0, 1),
    _headers,
)
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Music, _keys, st.sampled_from(["/v1/music", "/v1/music/stream"]), _fields([None, 1, FAILING_SEED])),
    _submit,
    _submit,
    st.builds(Page, _keys, st.integers(1, 3), st.none() | _refs),
    _touch,
    _touch,
    st.just(Work()),
    st.just(Work()),
    st.just(Release()),
)


@contextmanager
def _folders(number: int) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(each) for each in range(number)]
        for path in paths:
            path.mkdir()
        yield paths


async def _compare(commands: Sequence[Command], folders: Sequence[Path]) -> None:
    limits = {"audio_s_per_minute": AUDIO_S_PER_MINUTE}
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(house(folder, limits=limits, max_queued=MAX_QUEUED)) for folder in folders
        ]
        shared, *own = (World(each) for each in opened)
        alone = dict(zip(TENANTS, own, strict=True))
        for command in [*commands, Work(), *(Page(key, 100, None) for key in KEYS if key != REVOKED)]:
            if isinstance(command, Work | Release):
                for world in (shared, *own):
                    await world.do(command)
                continue
            tenant = KEYS[command.key]
            there, here = await shared.do(command), await alone[tenant].do(command)
            assert there is not None
            assert here is not None
            assert view(there, shared.names[tenant]) == view(here, alone[tenant].names[tenant]), command
            if isinstance(command, Touch) and command.ref.tenant != tenant:
                assert _same(there, await shared.touch(command, NO_ID)), command
        for world in (shared, *own):
            await world.do(Release())
        told = [shared.names[tenant].told() for tenant in TENANTS]
        assert not set.intersection(*told), "a name of the one's was told to the other"


def _same(one: Answer, other: Answer) -> bool:
    """Byte for byte, but for the names of the requests."""
    return _bare(one) == _bare(other)


def _bare(answer: Answer) -> tuple[object, ...]:
    headers = answer.headers if isinstance(answer.headers, list) else answer.headers.multi_items()
    status = answer.status if hasattr(answer, "status") else answer.status_code
    return status, [each for each in headers if each[0] != "x-request-id"], answer.content


def _check(commands: Sequence[Command]) -> None:
    async def test() -> None:
        with _folders(1 + len(TENANTS)) as folders:
            await _compare(commands, folders)

    run(test)


# To shrink what fails would take minutes, and as it is it can be read.
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
_UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "phases": _PHASES}


@settings(max_examples=6, **_UNHURRIED)
@given(st.lists(_commands, min_size=10, max_size=20))
def test_a_tenant_sees_what_it_would_see_alone(commands: list[Command]) -> None:
    _check(commands)


@pytest.mark.slow
@settings(max_examples=500, **_UNHURRIED)
@given(st.lists(_commands, min_size=10, max_size=60))
def test_a_tenant_sees_what_it_would_see_alone_in_long(commands: list[Command]) -> None:
    _check(commands)

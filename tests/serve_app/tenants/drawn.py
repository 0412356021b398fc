"""Commands by chance, of few kinds of music, so that the tenants often ask for the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.serve_app.tenants.commands import Command, Music, Page, Ref, Release, Submit, Touch, Work
from tests.serve_app.tenants.house import KEYS, REVOKED
from tests.serve_app.tenants.studio import FAILING_SEED, HELD_SEED

RIGHT_KEYS = [name for name in KEYS if name != REVOKED]
TENANTS = sorted(set(KEYS.values()))

_HEADERS = (
    (),
    (),
    (("If-None-Match", "a tag"),),
    (("If-Range", "a tag"), ("Range", "bytes=5-")),
    (("Range", "bytes=0-99"),),
    (("Range", "bytes=99999-"),),
    (("Last-Event-ID", "3"),),
)
_WHAT = ("GET", "DELETE", "events", "GET audio", "GET audio", "HEAD audio")


def drawn(seed: int, number: int) -> list[Command]:
    """So many, always the same of one seed."""
    dice = Random(seed)
    return [_command(dice) for _ in range(number)]


def _command(dice: Random) -> Command:
    kinds: dict[Callable[[Random], Command], int] = {_music: 5, _submit: 6, _touch: 8, _page: 2, _work: 2, _release: 1}
    return dice.choices(list(kinds), list(kinds.values()))[0](dice)


def _music(dice: Random) -> Music:
    path = dice.choice(["/v1/music", "/v1/music/stream"])
    return Music(dice.choice(RIGHT_KEYS), path, _fields(dice, [None, 1, 1, FAILING_SEED]))


def _submit(dice: Random) -> Submit:
    fields = _fields(dice, [None, 1, 1, HELD_SEED, FAILING_SEED])
    more = (("variations", dice.randint(1, 2)), ("queue", dice.choice(["batch", "realtime"])))
    return Submit(dice.choice(RIGHT_KEYS), dice.choice([None, None, "one", "two", "three"]), (*fields, *more))


def _touch(dice: Random) -> Touch:
    headers = tuple((name, _ref(dice) if value == "a tag" else value) for name, value in dice.choice(_HEADERS))
    return Touch(dice.choice(RIGHT_KEYS), _ref(dice), dice.choice(_WHAT), dice.choice([0, 0, 1]), headers)


def _page(dice: Random) -> Page:
    return Page(dice.choice(RIGHT_KEYS), dice.randint(1, 3), dice.choice([None, _ref(dice)]))


def _work(_: Random) -> Work:
    return Work()


def _release(_: Random) -> Release:
    return Release()


def _fields(dice: Random, seeds: list[int | None]) -> tuple[tuple[str, Any], ...]:
    return (
        ("prompt", dice.choice(["a tone", "a tone", "two tones"])),
        ("music_length_ms", dice.choice([100, 100, 200])),
        ("seed", dice.choice(seeds)),
        ("cache", dice.choice(["use", "use", "use", "refresh", "off"])),
    )


def _ref(dice: Random) -> Ref:
    return Ref(dice.choice(TENANTS), dice.randrange(6))

"""How many seconds of music a key may ask for, per minute and per day."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.access.settings import LimitsSettings
from serve_app.access.standing import Standing
from serve_app.access.windows import Day, Minute, Storage, Window
from serve_app.api.errors import InvalidRequest


@dataclass(frozen=True)
class Charge:
    """What came of asking. retry_after_s: None where it is granted; else after that long it may be."""

    standings: Sequence[Standing]
    retry_after_s: int | None = None


class Limits:
    """What is asked for counts when it is granted, in whole seconds, rounded up, and whatever becomes of it."""

    def __init__(self, settings: LimitsSettings, storage: Storage) -> None:
        self._windows: list[Window] = []
        if settings.audio_s_per_minute is not None:
            self._windows.append(Minute("audio_s_per_minute", storage, settings.audio_s_per_minute))
        if settings.audio_s_per_day is not None:
            self._windows.append(Day("audio_s_per_day", storage, settings.audio_s_per_day))

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return bool(self._windows)

    def check_possible(self, audio_s: float) -> None:
        """Raises: InvalidRequest for more than is ever granted at once."""
        for window in self._windows:
            if _whole(audio_s) > window.limit:
                raise InvalidRequest(
                    f"This can never be granted: {window.name} is {window.limit} for this key, and the request alone "
                    f"asks for more seconds of music; ask for {window.limit} s at most."
                )

    async def charge(self, key: str, audio_s: float) -> Charge:
        """Grants it within all limits, or in none of them. Raises: what the storage raises."""
        cost = _whole(audio_s)
        # Looked at before any is charged: what one refuses is not to be missing in the other.
        if await self._all_have(key, cost) and await self._take(key, cost):
            return Charge(await self._standings(key))
        waits_s = [await each.wait_s(key, cost) for each in self._windows if not await each.has(key, cost)]
        # None refuses any more: another's charge came in between and has just left the window.
        return Charge(await self._standings(key), max(waits_s, default=1))

    async def _all_have(self, key: str, cost: int) -> bool:
        return all(await asyncio.gather(*(each.has(key, cost) for each in self._windows)))

    async def _take(self, key: str, cost: int) -> bool:
        """Where two ask at once and the second limit has only room for one, the other has been charged in the first: it
        is over the longer limit then, and misses nothing.
        """
        for each in self._windows:
            if not await each.take(key, cost):
                return False
        return True

    async def _standings(self, key: str) -> Sequence[Standing]:
        return await asyncio.gather(*(each.standing(key) for each in self._windows))


def _whole(audio_s: float) -> int:
    # A sum of durations in milliseconds may be off by a rounding error of floats.
    return math.ceil(round(audio_s, 3))

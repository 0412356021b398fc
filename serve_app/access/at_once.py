"""How many requests of a key may be under way at once."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod


class AtOnce(ABC):
    """limit: per key."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def place(self, key: str) -> Place:
        """One that is not taken yet. Whoever takes it releases it, whatever becomes of the taking."""
        return Place(self, key)

    @abstractmethod
    async def take(self, place: Place) -> bool: ...

    @abstractmethod
    def release(self, place: Place) -> None: ...


class Place:
    """One request's. name: like no other's."""

    def __init__(self, places: AtOnce, key: str) -> None:
        self.key = key
        self.name = secrets.token_hex(16)
        self._places = places

    async def take(self) -> bool:
        """Whether there was one. Raises: RedisDown; then it counts as soon as it can."""
        return await self._places.take(self)

    def release(self) -> None:
        """Gives it back if it is taken; nobody waits for that."""
        self._places.release(self)

"""Places of one process."""

from __future__ import annotations

from collections import Counter

from serve_app.access.at_once import AtOnce, Place


class PlacesInMemory(AtOnce):
    """Where several processes serve, each has as many."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._taken: Counter[str] = Counter()
        self._places: set[str] = set()

    @property
    def num_taken(self) -> int:
        return len(self._places)

    async def take(self, place: Place) -> bool:
        if self._taken[place.key] >= self.limit:
            return False
        self._taken[place.key] += 1
        self._places.add(place.name)
        return True

    def release(self, place: Place) -> None:
        if place.name not in self._places:
            return
        self._places.remove(place.name)
        self._taken[place.key] -= 1
        if not self._taken[place.key]:
            del self._taken[place.key]

"""Which page of a fixed memory belongs to whom. Plain Python.

A page holds the keys and values of all layers at PAGE positions of one branch of a generation, or at PAGE tokens of
its text. What a generation will need is known when it is admitted, and taken then: nobody is ever sent back.
"""

from __future__ import annotations

PAGE = 64  # positions
SPARE = 0  # the page that rows of nobody write to


def pages_of(num_positions: int, num_branches: int, num_text_tokens: int) -> int:
    """Pages a generation takes from its admission to its end."""
    return num_branches * -(-num_positions // PAGE) + -(-num_text_tokens // PAGE)


class Pages:
    """num_pages: that can be taken; SPARE is one more."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._free = list(range(num_pages, SPARE, -1))
        self._taken: dict[int, list[int]] = {}

    def take(self, slot: int, number: int) -> list[int]:
        """Raises: MemoryError when there are not as many: whoever admits counts them before."""
        if slot in self._taken:
            raise RuntimeError(f"slot {slot} has its pages already")
        if number > len(self._free):
            raise MemoryError(f"{number} pages are wanted, and {len(self._free)} are free")
        pages = [self._free.pop() for _ in range(number)]
        self._taken[slot] = pages
        return pages

    def give_back(self, slot: int) -> None:
        self._free += self._taken.pop(slot)

    def check_integrity(self, slots: set[int]) -> None:
        """slots: those in use. Raises: AssertionError when others hold pages, or a page is lost or shared."""
        assert set(self._taken) == slots, f"slots {set(self._taken) ^ slots} hold pages and are free, or hold none"
        pages = sorted([*self._free, *(page for pages in self._taken.values() for page in pages)])
        assert pages == list(range(SPARE + 1, self.num_pages + 1)), "a page is lost or shared"

"""The rules of the cache: what to do about a request, given what is cached.

    mode     seed    cached                                    outcome   seed          written
    use      given   codes as long as asked                    hit       given         -
    use      given   longer ones                               cut       given         -
    use      given   shorter ones                              extended  given         codes
    use      given   none                                      miss      given         codes
    use      none    an alias: as above, with its seed
    use      none    no alias                                  miss      drawn         codes, alias
    refresh  given   -                                         miss      given         codes
    refresh  none    -                                         miss      drawn         codes, alias
    off      -       -                                         miss      given, drawn  nothing

An expired entry does not count as cached. An alias outlives the codes that it points at when they are evicted or
broken; then they are generated again with its seed, so that the same prompt gives the same music until the alias
expires. An entry of a newer release does not count either, and is not overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deployments.messages import CacheMode, Outcome


@dataclass(frozen=True)
class Decision:
    """What to do.

    outcome: the value of X-Cache. seed: of the generation. cached_frames: frames used from the cache; generating begins
    with the next one. writes_alias: at once, so that the next such request joins. writes_codes: when they are complete.
    """

    outcome: Outcome
    seed: int
    cached_frames: int = 0
    writes_alias: bool = False
    writes_codes: bool = False


def known_seed(mode: CacheMode, seed: int | None, alias_seed: int | None) -> int | None:
    """The seed whose codes to look up; None where one has to be drawn.

    seed: the request's own. alias_seed: the alias's, None where there is no alias.
    """
    if seed is not None:
        return seed
    return alias_seed if mode == "use" else None


def decide(
    mode: CacheMode, known: int | None, *, num_frames: int, num_cached: int, draw: Callable[[], int]
) -> Decision:
    """Applies the rules above.

    Args:
        mode: of the request.
        known: the result of `known_seed`.
        num_frames: of the request, at least 1.
        num_cached: cached frames of that seed; 0 for none.
        draw: returns a random seed.
    """
    if mode == "off":
        return Decision("miss", draw() if known is None else known)
    if known is None:
        return Decision("miss", draw(), writes_alias=True, writes_codes=True)
    if mode == "refresh" or num_cached == 0:
        return Decision("miss", known, writes_codes=True)
    if num_cached < num_frames:
        return Decision("extended", known, num_cached, writes_codes=True)
    return Decision("hit" if num_cached == num_frames else "cut", known, num_frames)


def is_live(created_s: float, now_s: float, ttl_s: float | None) -> bool:
    """Whether an entry of `created_s` may still be used. Seconds since 1970; ttl_s: None: forever.

    An entry from the future, written before a clock was moved, counts by its distance: a move by an hour costs an hour
    of its life at most, and what a wrong clock wrote does not stay forever.
    """
    return ttl_s is None or abs(now_s - created_s) <= ttl_s

"""What to do about a request, given what is kept: the rules of the cache, and nothing but the rules.

    mode     seed    kept                                      outcome   seed          written
    use      given   codes as long as asked                    hit       given         -
    use      given   longer ones                               cut       given         -
    use      given   shorter ones                              extended  given         codes
    use      given   none                                      miss      given         codes
    use      none    an alias: as above, with its seed
    use      none    no alias                                  miss      drawn         codes, alias
    refresh  given   -                                         miss      given         codes
    refresh  none    -                                         miss      drawn         codes, alias
    off      -       -                                         miss      given, drawn  nothing

What has expired is not kept. An alias outlives the codes that it points at when they are evicted or broken; then they
are made again, with its seed, so that the same words give the same music until the alias expires. An entry of a newer
program is not kept either, as far as this one can tell, and it is not written over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deployments.messages import CacheMode, Outcome


@dataclass(frozen=True)
class Decision:
    """outcome: what X-Cache says. seed: of the generation. kept_frames: taken from the kept codes; the first one to be
    made has this number. writes_alias: at once, so that whoever asks next joins; writes_codes: when they are made.
    """

    outcome: Outcome
    seed: int
    kept_frames: int = 0
    writes_alias: bool = False
    writes_codes: bool = False


def known_seed(mode: CacheMode, seed: int | None, alias_seed: int | None) -> int | None:
    """The seed whose codes to look for; None where there is nothing to look for: it has to be drawn.

    seed: as asked. alias_seed: that the alias points at, None where there is no alias.
    """
    if seed is not None:
        return seed
    return alias_seed if mode == "use" else None


def decide(
    mode: CacheMode, known: int | None, *, num_frames: int, frames_kept: int, draw: Callable[[], int]
) -> Decision:
    """The rules above.

    known: as `known_seed` has it. num_frames: asked, at least 1. frames_kept: of that seed; 0 where nothing is.
    draw: gives a random seed.
    """
    if mode == "off":
        return Decision("miss", draw() if known is None else known)
    if known is None:
        return Decision("miss", draw(), writes_alias=True, writes_codes=True)
    if mode == "refresh" or frames_kept == 0:
        return Decision("miss", known, writes_codes=True)
    if frames_kept < num_frames:
        return Decision("extended", known, frames_kept, writes_codes=True)
    return Decision("hit" if frames_kept == num_frames else "cut", known, num_frames)


def is_live(created_s: float, now_s: float, ttl_s: float | None) -> bool:
    """Whether what was made at `created_s` may still be used; None is for ever. Seconds since 1970.

    What seems to come from the future, since a clock was moved, counts by its distance: an hour's move costs an hour of
    an entry's life at most, and what a mad clock wrote does not stay for ever.
    """
    return ttl_s is None or abs(now_s - created_s) <= ttl_s

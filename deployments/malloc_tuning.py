"""malloc tuning: memory that many concurrent calls took is returned to the system when they are done.

Ray runs each call of an asynchronous actor on a stack of its own, of 128 KiB from malloc (its `core_worker/fiber.h`
leaves that to boost). glibc maps large blocks one by one at first; but as soon as one is freed, it takes others of that
size from the heap (mallopt(3), M_MMAP_THRESHOLD). There, any small block that was allocated behind them keeps them from
being returned: tens of megabytes after 500 calls at once.
"""

from __future__ import annotations

import ctypes

LARGE_BYTES = 2**16

_M_MMAP_THRESHOLD = -3  # malloc.h


def map_large_blocks() -> None:
    """From now on, blocks of LARGE_BYTES or more are mapped one by one, and returned to the system when they are freed.

    For processes that answer many requests at once and compute little: mapping takes microseconds each time. Has no
    effect where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)

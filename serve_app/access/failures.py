"""How many wrong API keys came from one client address. It never stands in the way of a right one."""

from __future__ import annotations

import ipaddress
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

PER_MINUTE = 100
# Addresses share this many counts, so that a client of many addresses takes no memory; each process has its own split.
_NUM_COUNTS = 1024
# What one customer has of IPv6.
_IPV6_PREFIX = 64


class Failures:
    """Counts by address, a network's addresses together where they are of IPv6. Two that share a count by chance only
    hear of their failures earlier. per_minute: that are too many."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(per_minute)

    async def count(self, address: str) -> float | None:
        """Counts one. How many seconds the address should wait, where it has had too many; else None."""
        count = str(hash(_network(address)) % _NUM_COUNTS)
        if await self._limiter.hit(self._limit, count):
            return None
        stats = await self._limiter.get_window_stats(self._limit, count)
        return max(1.0, stats.reset_time - time.time())


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if ip.version == 4 else str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))

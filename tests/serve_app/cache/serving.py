"""What a pipeline does with the cache."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from deployments.messages import CacheMode
from serve_app.cache.cache import Cache
from serve_app.cache.keys import GenerationRequest
from serve_app.stores.store import BlockingStore
from tests.serve_app.cache.cached import codes_of, with_cache

TTL_S = 100.0
FIRST_DRAWN = 1_000


async def served(cache: Cache, request: GenerationRequest, mode: CacheMode, seed: int | None, frames: int) -> Any:
    """What a pipeline does with the cache: (outcome, seed, codes, frames made)."""
    found = await cache.look_up(request, mode, seed, num_frames=frames)
    decision = found.decision
    made = codes_of(request, decision.seed, frames)[:, decision.kept_frames :]
    codes = made if found.codes is None else np.concatenate([found.codes.codes[:, :frames], made], axis=1)
    if decision.writes_codes:
        await cache.keep_codes(found.key, codes, request.model.numerics)
    await cache.settled()
    return decision.outcome, decision.seed, codes.tolist(), made.shape[1]


def run(store: BlockingStore, test: Callable[[Cache], Coroutine[Any, Any, None]], **options: Any) -> None:
    options = {"ttl_s": TTL_S, "draw": itertools.count(FIRST_DRAWN).__next__, **options}
    asyncio.run(with_cache(store, test, **options))

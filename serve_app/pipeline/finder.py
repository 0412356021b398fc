"""Where a request's codes come from: kept ones, a generation under way, here or elsewhere, or one begun for it.

Two locks stand against doing things twice: within this replica one for each key, and among replicas a lease, which the
one who makes a generation holds until its codes are kept. A request without a seed asks for a lease on its alias first,
whose value is the seed drawn, so that all who ask the same at once go to one generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployments.messages import Outcome
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache, Lookup, drawn_seed
from serve_app.cache.keys import Key, alias_key, generation_key
from serve_app.database.lease_table import Held, Taken
from serve_app.database.leases import Leases
from serve_app.pipeline.generation import Generation
from serve_app.pipeline.generation_metrics import CACHE_ANSWERS
from serve_app.pipeline.model_request import Asked
from serve_app.pipeline.running import Generations
from serve_app.pipeline.subscribers import Ticket
from serve_app.tasks import KeyedLocks

# How often a replica asks for what another one makes.
_POLL_S = 0.25


@dataclass(frozen=True)
class Found:
    """source: a place at a generation, to be given back, or kept codes, int16 [K, n]."""

    key: Key
    seed: int
    outcome: Outcome
    source: Ticket | np.ndarray
    age_s: int | None = None

    def close(self) -> None:
        """Gives the place back. Once or more often."""
        if isinstance(self.source, Ticket):
            self.source.close()


class Finder:
    """leases: shared by all replicas that have the cache in common. draw: a random seed."""

    def __init__(
        self,
        cache: Cache,
        leases: Leases,
        generations: Generations,
        draw: Callable[[], int] = drawn_seed,
        *,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._cache = cache
        self._draw = draw
        self._recorder = recorder
        self._leases = leases
        self._generations = generations
        self._locks = KeyedLocks()
        self._drawn: dict[str, int] = {}  # by alias, the seeds drawn for generations under way
        self._num_finding = 0

    async def find(self, asked: Asked) -> Found:
        """Raises: what `Generations.join` raises; ServiceError. Cancelled, it leaves nothing behind."""
        self._num_finding += 1
        try:
            found = await self._find(asked)
            # Who comes with a resumption was counted when the first pipeline was asked.
            if asked.request.cache != "off" and asked.resumption is None:
                self._recorder.add(CACHE_ANSWERS, model=asked.request.model, cache=found.outcome)
            return found
        finally:
            self._num_finding -= 1

    async def _find(self, asked: Asked) -> Found:
        request, resumption = asked.request, asked.resumption
        if request.cache == "off":
            return self._alone(asked)
        if resumption is not None:
            return await self._with_seed(asked, resumption.start.seed)
        if request.seed is not None:
            return await self._with_seed(asked, request.seed)
        alias = alias_key(asked.generation_request)
        async with self._locks.held(str(alias)):
            known = None
            if request.cache == "use":
                known = self._drawn.get(alias.digest)
                if known is None:
                    known = await self._cache.seed_for(asked.generation_request, "use", None)
            if known is not None:
                return await self._with_seed(asked, known)
            return await self._with_drawn_seed(asked, alias)

    def check_integrity(self) -> None:
        """Raises: AssertionError where something of generations that have ended is left."""
        self._generations.check_integrity()
        if not self._num_finding:
            assert len(self._drawn) <= len(self._generations), "a drawn seed is left behind"
            assert len(self._generations) or not self._locks, "a lock is left behind"

    def _alone(self, asked: Asked) -> Found:
        """For `off`: a generation that nobody else joins, and that is not kept."""
        resumption = asked.resumption
        seed = asked.request.seed
        if resumption is not None:
            seed = resumption.start.seed
        elif seed is None:
            seed = self._draw()
        key = generation_key(asked.generation_request, seed)
        generation = self._generation(asked, key, seed, None)
        ticket = self._generations.start(key, generation, asked.num_frames, frames_kept=None, joinable=False)
        return Found(key, seed, "miss", ticket)

    async def _with_drawn_seed(self, asked: Asked, alias: Key) -> Found:
        """Draws a seed, unless another replica has done so for the same."""
        seed, held = self._draw(), None
        if asked.request.cache == "use":
            taken = await self._leases.take(str(alias), value=str(seed))
            if isinstance(taken, Taken):
                return await self._with_seed(asked, int(taken.value))
            held = taken

        def ended() -> None:
            if self._drawn.get(alias.digest) == seed:
                del self._drawn[alias.digest]

        leases = () if held is None else (held,)
        try:
            lookup = await self._cache.look_up(
                asked.generation_request, asked.request.cache, None, num_frames=asked.num_frames, drawn=seed
            )
        except BaseException:
            await self._release(leases)
            raise
        if lookup.decision.seed != seed:
            await self._release(leases)
            return await self._with_seed(asked, lookup.decision.seed)
        self._drawn[alias.digest] = seed
        return await self._with_seed(asked, seed, lookup, leases, ended)

    async def _with_seed(
        self,
        asked: Asked,
        seed: int,
        lookup: Lookup | None = None,
        held: tuple[Held, ...] = (),
        ended: Callable[[], None] = lambda: None,
    ) -> Found:
        """lookup: for this seed, if it has been made. held: leases that go to the generation, or are released; `ended`
        is called when the generation is over, or when none is begun.
        """
        request = asked.request
        key, begun = generation_key(asked.generation_request, seed), False
        try:
            async with self._locks.held(str(key)):
                ticket = await self._generations.join(key, asked.num_frames, request.queue)
                if ticket is not None:
                    return Found(key, seed, "joined", ticket)
                found, lookup, lease = await self._kept_or_leased(asked, key, seed, lookup)
                if found is not None:
                    return found
                # From here to the end nothing is waited for: the generation has the leases, or nobody has.
                held = held if lease is None else (*held, lease)
                generation = self._generation(asked, key, seed, lookup)
                frames_kept = lookup.decision.kept_frames
                if request.cache == "refresh":
                    frames_kept = asked.num_frames - 1  # less than the whole doesn't take the place of what is kept
                ticket = self._generations.start(
                    key, generation, asked.num_frames, leases=held, frames_kept=frames_kept, ended=ended
                )
                begun = True
                return Found(key, seed, lookup.decision.outcome, ticket)
        finally:
            if not begun:
                ended()
                await self._release(held)

    async def _kept_or_leased(
        self, asked: Asked, key: Key, seed: int, drawn: Lookup | None
    ) -> tuple[Found | None, Lookup, Held | None]:
        """Kept codes that are enough, or what there is of them and the lease to make the rest; None where there is no
        telling who has it. drawn: of a seed that was drawn for this request.
        """
        mode, lookup, waited, lease = asked.request.cache, drawn, False, None
        if asked.resumption is not None:
            mode = "use"  # what another replica has kept of it by now need not be made again
        try:
            while True:
                if lookup is None:
                    lookup = await self._cache.look_up(
                        asked.generation_request, mode, seed, num_frames=asked.num_frames
                    )
                decision, codes = lookup.decision, lookup.codes
                if codes is not None and decision.outcome in ("hit", "cut"):
                    await self._release(() if lease is None else (lease,))
                    if waited:
                        return Found(key, seed, "joined", codes.codes[:, : asked.num_frames]), lookup, None
                    source, age_s = codes.codes[:, : asked.num_frames], self._cache.age_s(codes)
                    return Found(key, seed, decision.outcome, source, age_s), lookup, None
                if lease is not None:
                    return None, lookup, lease
                taken = await self._leases.take(str(key))
                if taken is None:
                    return None, lookup, None
                if isinstance(taken, Taken):
                    mode, waited = "use", True
                    await asyncio.sleep(_POLL_S)
                    lookup = None
                    continue
                # Whoever had it before may have kept something since we looked; of a seed just drawn there is nothing.
                lease = taken
                if drawn is None or waited:
                    lookup = None
        except BaseException:
            await self._release(() if lease is None else (lease,))
            raise

    def _generation(self, asked: Asked, key: Key, seed: int, lookup: Lookup | None) -> Generation:
        """To be begun with the most frames that anybody has."""
        codes = None if lookup is None or lookup.codes is None else lookup.codes.codes
        text_states = None
        if asked.resumption is not None:
            text_states = asked.resumption.start.text_states
            if codes is None or codes.shape[1] < asked.resumption.codes.shape[1]:
                codes = asked.resumption.codes
        if codes is not None and not codes.shape[1]:
            codes = None
        work, model = asked.work(key.digest, seed), asked.model
        return Generation(
            work,
            model.stages,
            model.suspects,
            model.deadline,
            queue=asked.request.queue,
            codes=codes,
            text_states=text_states,
        )

    async def _release(self, leases: tuple[Held, ...]) -> None:
        await asyncio.gather(*(self._leases.release(held.lease) for held in leases))

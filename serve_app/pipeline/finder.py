"""Finds a request's codes: in the cache, in a generation that runs here or elsewhere, or in a new one.

Two locks prevent that anything is made twice: one for each key within this replica, and among replicas a lease, which
the replica that makes a generation holds until its codes are cached. A request without a seed takes a lease on its
alias first, whose value is the seed drawn, so that equal requests that come at once lead to one generation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from deployments.messages import EngineIdentity, MusicRequest, Outcome, Resumption
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache, Lookup, drawn_seed
from serve_app.cache.keys import GenerationRequest, Key, ModelIdentity, alias_key, generation_key
from serve_app.database.lease_table import HeldLease, TakenLease
from serve_app.database.leases import Leases
from serve_app.pipeline.generation import Generation, Work
from serve_app.pipeline.generation_metrics import CACHE_ANSWERS
from serve_app.pipeline.running_generations import RunningGenerations
from serve_app.pipeline.subscribers import Subscription
from serve_app.pipeline.workers import ModelStages, RetryTurns
from serve_app.settings.model import Deadline
from serve_app.tasks import KeyedLocks

# How often a replica looks for the codes that another one makes.
_POLL_S = 0.25


@dataclass(frozen=True)
class PipelineModel:
    """One model, as the pipeline sees it."""

    stages: ModelStages
    deadline: Deadline
    retry_turns: RetryTurns


@dataclass(frozen=True)
class PipelineRequest:
    """A request and the model that makes it. identity: of the engines to use. resumption: see `Pipeline.stream`."""

    request: MusicRequest
    model: PipelineModel
    identity: EngineIdentity
    num_frames: int
    resumption: Resumption | None = None

    @cached_property
    def generation_request(self) -> GenerationRequest:
        return generation_request(self.request, self.identity)

    def work(self, key: str, seed: int) -> Work:
        return Work(key, self.request.model, self.request.prompt, seed, self.request.sampling, self.identity)


def generation_request(request: MusicRequest, identity: EngineIdentity) -> GenerationRequest:
    """What a request's cache keys are made of: the same here and in the ingress."""
    model = ModelIdentity(request.model, identity.fingerprint, identity.numerics, identity.vocab_size)
    return GenerationRequest(request.scope, model, request.prompt, request.sampling)


@dataclass(frozen=True)
class FoundCodes:
    """Where a request's codes come from.

    source: a subscription, which has to be closed, or cached codes, int16 [K, n]. age_s: of cached codes.
    """

    key: Key
    seed: int
    outcome: Outcome
    source: Subscription | np.ndarray
    age_s: int | None = None

    def close(self) -> None:
        """Closes the subscription, if it is one. May be called more than once."""
        if isinstance(self.source, Subscription):
            self.source.close()


class CodesFinder:
    """Finds or starts the generation of a request.

    leases: shared by all replicas that use the same cache. draw: draws a seed.
    """

    def __init__(
        self,
        cache: Cache,
        leases: Leases,
        generations: RunningGenerations,
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
        self._drawn: dict[str, int] = {}  # by alias, the seeds drawn for running generations
        self._num_finding = 0

    async def find(self, wanted: PipelineRequest) -> FoundCodes:
        """Raises: what `RunningGenerations.join` raises; ServiceError. Cancelled, it leaves nothing behind."""
        self._num_finding += 1
        try:
            found = await self._find(wanted)
            # A request with a resumption was counted by the first pipeline replica.
            if wanted.request.cache != "off" and wanted.resumption is None:
                self._recorder.add(CACHE_ANSWERS, model=wanted.request.model, cache=found.outcome)
            return found
        finally:
            self._num_finding -= 1

    async def _find(self, wanted: PipelineRequest) -> FoundCodes:
        request, resumption = wanted.request, wanted.resumption
        if request.cache == "off":
            return self._alone(wanted)
        if resumption is not None:
            return await self._with_seed(wanted, resumption.start.seed)
        if request.seed is not None:
            return await self._with_seed(wanted, request.seed)
        alias = alias_key(wanted.generation_request)
        async with self._locks.held(str(alias)):
            known = None
            if request.cache == "use":
                known = self._drawn.get(alias.digest)
                if known is None:
                    known = await self._cache.seed_for(wanted.generation_request, "use", None)
            if known is not None:
                return await self._with_seed(wanted, known)
            return await self._with_drawn_seed(wanted, alias)

    def check_integrity(self) -> None:
        """Raises: AssertionError where a generation that has ended left something behind."""
        self._generations.check_integrity()
        if not self._num_finding:
            assert len(self._drawn) <= len(self._generations), "a drawn seed is left behind"
            assert len(self._generations) or not self._locks, "a lock is left behind"

    def _alone(self, wanted: PipelineRequest) -> FoundCodes:
        """For `off`: a generation that no other request joins, and that is not cached."""
        resumption = wanted.resumption
        seed = wanted.request.seed
        if resumption is not None:
            seed = resumption.start.seed
        elif seed is None:
            seed = self._draw()
        key = generation_key(wanted.generation_request, seed)
        generation = self._generation(wanted, key, seed, None)
        subscription = self._generations.start(
            key, generation, wanted.num_frames, num_cached_frames=None, joinable=False
        )
        return FoundCodes(key, seed, "miss", subscription)

    async def _with_drawn_seed(self, wanted: PipelineRequest, alias: Key) -> FoundCodes:
        """Draws a seed, unless another replica has drawn one for the same request."""
        seed, held = self._draw(), None
        if wanted.request.cache == "use":
            taken = await self._leases.take(str(alias), value=str(seed))
            if isinstance(taken, TakenLease):
                return await self._with_seed(wanted, int(taken.value))
            held = taken

        def ended() -> None:
            if self._drawn.get(alias.digest) == seed:
                del self._drawn[alias.digest]

        leases = () if held is None else (held,)
        try:
            lookup = await self._cache.look_up(
                wanted.generation_request, wanted.request.cache, None, num_frames=wanted.num_frames, drawn=seed
            )
        except BaseException:
            await self._release(leases)
            raise
        if lookup.decision.seed != seed:
            await self._release(leases)
            return await self._with_seed(wanted, lookup.decision.seed)
        self._drawn[alias.digest] = seed
        return await self._with_seed(wanted, seed, lookup, leases, ended)

    async def _with_seed(
        self,
        wanted: PipelineRequest,
        seed: int,
        lookup: Lookup | None = None,
        held: tuple[HeldLease, ...] = (),
        ended: Callable[[], None] = lambda: None,
    ) -> FoundCodes:
        """Finds the codes of this seed.

        Args:
            wanted: the request.
            seed: of the generation.
            lookup: what the cache has for this seed, if it was asked already.
            held: leases; the generation takes them, or they are released.
            ended: called when the generation is over, or when none was started.
        """
        request = wanted.request
        key, begun = generation_key(wanted.generation_request, seed), False
        try:
            async with self._locks.held(str(key)):
                subscription = await self._generations.join(key, wanted.num_frames, request.queue)
                if subscription is not None:
                    return FoundCodes(key, seed, "joined", subscription)
                found, lookup, lease = await self._cached_or_leased(wanted, key, seed, lookup)
                if found is not None:
                    return found
                # No `await` from here to the end: either the generation has the leases, or they are released below.
                held = held if lease is None else (*held, lease)
                generation = self._generation(wanted, key, seed, lookup)
                num_cached_frames = lookup.decision.cached_frames
                if request.cache == "refresh":
                    num_cached_frames = wanted.num_frames - 1  # only a whole clip replaces the cached one
                subscription = self._generations.start(
                    key, generation, wanted.num_frames, leases=held, num_cached_frames=num_cached_frames, ended=ended
                )
                begun = True
                return FoundCodes(key, seed, lookup.decision.outcome, subscription)
        finally:
            if not begun:
                ended()
                await self._release(held)

    async def _cached_or_leased(
        self, wanted: PipelineRequest, key: Key, seed: int, drawn: Lookup | None
    ) -> tuple[FoundCodes | None, Lookup, HeldLease | None]:
        """Returns cached codes that are long enough; or else what the cache has, and the lease to make the rest.

        The lease is None where the database cannot tell who has it. Waits while another replica makes the codes.
        drawn: what the cache has for a seed that was just drawn for this request.
        """
        mode, lookup, waited, lease = wanted.request.cache, drawn, False, None
        if wanted.resumption is not None:
            mode = "use"  # what another replica has cached of it by now need not be made again
        try:
            while True:
                if lookup is None:
                    lookup = await self._cache.look_up(
                        wanted.generation_request, mode, seed, num_frames=wanted.num_frames
                    )
                decision, codes = lookup.decision, lookup.codes
                if codes is not None and decision.outcome in ("hit", "cut"):
                    await self._release(() if lease is None else (lease,))
                    if waited:
                        return FoundCodes(key, seed, "joined", codes.codes[:, : wanted.num_frames]), lookup, None
                    source, age_s = codes.codes[:, : wanted.num_frames], self._cache.age_s(codes)
                    return FoundCodes(key, seed, decision.outcome, source, age_s), lookup, None
                if lease is not None:
                    return None, lookup, lease
                taken = await self._leases.take(str(key))
                if taken is None:
                    return None, lookup, None
                if isinstance(taken, TakenLease):
                    mode, waited = "use", True
                    await asyncio.sleep(_POLL_S)
                    lookup = None
                    continue
                # The last holder may have cached something since we looked, but not for a seed that was just drawn.
                lease = taken
                if drawn is None or waited:
                    lookup = None
        except BaseException:
            await self._release(() if lease is None else (lease,))
            raise

    def _generation(self, wanted: PipelineRequest, key: Key, seed: int, lookup: Lookup | None) -> Generation:
        """A generation that starts with the most frames known: cached ones, or those of the resumption."""
        codes = None if lookup is None or lookup.codes is None else lookup.codes.codes
        text_states = None
        if wanted.resumption is not None:
            text_states = wanted.resumption.start.text_states
            if codes is None or codes.shape[1] < wanted.resumption.codes.shape[1]:
                codes = wanted.resumption.codes
        if codes is not None and not codes.shape[1]:
            codes = None
        work, model = wanted.work(key.digest, seed), wanted.model
        return Generation(
            work,
            model.stages,
            model.retry_turns,
            model.deadline,
            queue=wanted.request.queue,
            codes=codes,
            text_states=text_states,
        )

    async def _release(self, leases: tuple[HeldLease, ...]) -> None:
        await asyncio.gather(*(self._leases.release(held.lease) for held in leases))

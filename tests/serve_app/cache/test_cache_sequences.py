"""Whatever was asked before, the cache answers as the keys' rules say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.messages import CacheMode
from serve_app.cache.cache import Cache
from serve_app.cache.keys import generation_key
from serve_app.stores.folder import FolderStore
from tests.serve_app.cache.cached import REQUEST, Clock, InMemory, codes_of
from tests.serve_app.cache.serving import FIRST_DRAWN, TTL_S, run, served


@dataclass
class Rules:
    """The rules once more, by a list of what was made and when: slow, and without keys, entries or stores."""

    now_s: float = 0.0
    next_drawn: int = FIRST_DRAWN
    made: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)
    pointed: dict[str, tuple[int, float]] = field(default_factory=dict)

    def ask(self, prompt: str, mode: CacheMode, seed: int | None, frames: int) -> tuple[str, int, int]:
        """(outcome, seed, frames made)."""
        drawn = False
        if seed is None and mode == "use" and prompt in self.pointed and self._lives(self.pointed[prompt][1]):
            seed = self.pointed[prompt][0]
        if seed is None:
            seed, drawn = self.next_drawn, True
            self.next_drawn += 1
        if mode == "off":
            return "miss", seed, frames
        if drawn:
            self.pointed[prompt] = seed, self.now_s
        kept, when = self.made.get((prompt, seed), (0, 0.0))
        if drawn or mode == "refresh" or not self._lives(when):
            kept = 0
        if kept < frames:
            self.made[prompt, seed] = frames, self.now_s
        outcome = "hit" if kept == frames else "cut" if kept > frames else "extended" if kept else "miss"
        return outcome, seed, max(0, frames - kept)

    def lose(self, prompt: str, seed: int) -> None:
        self.made.pop((prompt, seed), None)

    def _lives(self, when: float) -> bool:
        return self.now_s - when <= TTL_S


prompts = st.sampled_from(["a", "b"])
seeds = st.sampled_from([1, 2, FIRST_DRAWN])
asks = st.tuples(
    st.just("ask"),
    prompts,
    st.sampled_from(["use", "use", "use", "refresh", "off"]),
    st.none() | seeds,
    st.integers(1, 6),
)
waits = st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, TTL_S, TTL_S + 1]))
losses = st.tuples(st.just("lose"), prompts, seeds)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    doings=st.lists(st.one_of(asks, asks, asks, waits, losses), max_size=25),
    kind=st.sampled_from(["dictionary", "dictionary", "folder"]),
    remembers=st.booleans(),
)
def test_every_sequence_of_requests_is_answered_as_the_rules_say(
    doings: list[tuple[Any, ...]], kind: str, remembers: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store: InMemory | FolderStore = InMemory()
    if kind == "folder":
        store = FolderStore(tmp_path_factory.mktemp("cache"), 2**24, 2**23)
    clock, rules = Clock(), Rules()

    async def test(cache: Cache) -> None:
        rules.now_s = clock.now_s
        for name, *arguments in doings:
            if name == "wait":
                clock.now_s += arguments[0]
                rules.now_s += arguments[0]
            elif name == "lose":
                prompt, seed = arguments
                if not remembers:
                    store.delete(generation_key(replace(REQUEST, prompt=prompt), seed))
                    rules.lose(prompt, seed)
            else:
                prompt, mode, seed, frames = arguments
                request = replace(REQUEST, prompt=prompt)
                expected = rules.ask(prompt, mode, seed, frames)
                outcome, used, codes, made = await served(cache, request, mode, seed, frames)
                assert (outcome, used, made) == expected
                assert codes == codes_of(request, used, frames).tolist(), "hit, cut, extended and fresh are the same"

    run(store, test, clock=clock, memory_bytes=2**20 if remembers else 0)

"""Who gets in: slots and memory, first come first served, and those before who lost their engine."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.request import EngineRequest
from deployments.language_model.engine.scheduler import Scheduler
from deployments.language_model.errors import EngineFull
from deployments.language_model.loading import warm_up
from deployments.messages import Sampling
from tests.deployments.language_model.random_decoder import request, run


def size_of(decoder: Decoder, num_frames: int, num_tokens: int = 5, branches: int = 2) -> int:
    return decoder.bytes_of(num_frames + 3, branches, num_tokens)


def test_a_request_that_does_not_fit_waits_and_nobody_overtakes_it(decoder: Decoder) -> None:
    memory_bytes = size_of(decoder, 20) + size_of(decoder, 5)
    engine = Engine(decoder, num_slots=3, max_frames=64, memory_bytes=memory_bytes)
    engine.add(request("first", num_frames=20))
    engine.add(request("large", num_frames=20))
    engine.add(request("small", num_frames=5))
    engine.step()
    engine.check_integrity()
    assert {engine_request.request_id for engine_request in engine.scheduler.running.values()} == {"first"}
    while "first" in engine.scheduler:
        assert engine.scheduler.num_waiting == 2
        engine.step()
    engine.step()
    assert engine.scheduler.num_waiting == 0
    assert run(engine)["small"].shape[1] > 0


def test_an_abort_gives_its_memory_to_who_waits(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=2, max_frames=64, memory_bytes=size_of(decoder, 20))
    engine.add(request("running", num_frames=20))
    engine.step()
    engine.add(request("waiting", num_frames=20))
    engine.step()
    engine.abort("running")
    engine.step()
    engine.check_integrity()
    assert {engine_request.request_id for engine_request in engine.scheduler.running.values()} == {"waiting"}


def test_a_request_that_can_never_fit_is_refused_with_the_frames_that_would(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=2, max_frames=64, memory_bytes=size_of(decoder, 30))
    with pytest.raises(ValueError, match=rf"31 frames of this prompt need {size_of(decoder, 31)} bytes.*: 30 frames"):
        engine.add(request("too long", num_frames=31))
    without_guidance = Sampling(guidance_scale=1.0)
    engine.add(request("half the rows", num_frames=60, sampling=without_guidance))
    with pytest.raises(ValueError, match=r": 0 frames would fit"):
        engine.add(request("too many words", num_tokens=200, num_frames=31))
    engine.check_integrity()


def test_who_waits_for_memory_counts_as_waiting_though_a_slot_is_free(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=4, max_waiting=1, max_frames=64, memory_bytes=size_of(decoder, 20))
    engine.add(request("running", num_frames=20))
    engine.add(request("waiting", num_frames=20))
    with pytest.raises(EngineFull, match="no more than 1 may wait"):
        engine.add(request("one too many", num_frames=20))


def test_warming_up_needs_memory_for_one_request_only(decoder: Decoder) -> None:
    memory_bytes = size_of(decoder, 4, num_tokens=8)
    engine = Engine(decoder, num_slots=4, max_waiting=0, max_frames=64, memory_bytes=memory_bytes)
    warm_up(engine)
    engine.check_integrity()
    assert engine.idle


def ids(engine: Engine) -> tuple[list[str], set[str]]:
    scheduler = engine.scheduler
    return [each.request_id for each in scheduler.waiting], {each.request_id for each in scheduler.running.values()}


def test_who_lost_its_engine_is_never_refused_and_waits_before_those_who_come_new(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=1, max_waiting=1, max_frames=64)
    engine.add(request("running", num_frames=3))
    engine.step()
    engine.add(request("new"))
    for name in ("resumed 1", "resumed 2"):
        engine.add(replace(request(name), priority=True))
    with pytest.raises(EngineFull, match="3 requests wait"):
        engine.add(request("one too many"))
    assert ids(engine) == (["resumed 1", "resumed 2", "new"], {"running"})
    engine.abort("running")
    engine.step()
    engine.check_integrity()
    assert ids(engine) == (["resumed 2", "new"], {"resumed 1"})


def test_priority_makes_no_room_in_memory(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=3, max_frames=64, memory_bytes=size_of(decoder, 25))
    engine.add(request("running", num_frames=20))
    engine.step()
    engine.add(request("small", num_frames=2))
    engine.add(replace(request("large", num_frames=25), priority=True))
    engine.step()
    engine.check_integrity()
    assert ids(engine) == (["large", "small"], {"running"})
    with pytest.raises(ValueError, match="25 frames would fit"):
        engine.add(replace(request("too large", num_frames=26), priority=True))


@dataclass(frozen=True)
class Visitor:
    name: str
    priority: bool
    size_bytes: int


class Reference:
    """The rules, word for word: lists, gone through from the beginning each time."""

    def __init__(self, num_slots: int, max_waiting: int, memory_bytes: int | None) -> None:
        self.num_slots, self.max_waiting, self.memory_bytes = num_slots, max_waiting, memory_bytes
        self.waiting: list[Visitor] = []
        self.running: list[Visitor] = []

    def add(self, visitor: Visitor) -> bool:
        """Whether it is taken in: with priority always, else unless too many wait once all who can have joined."""
        waiting = self._in_order([*self.waiting, visitor])
        still_waiting, _ = self._admitted(waiting)
        if not visitor.priority and len(still_waiting) > self.max_waiting:
            return False
        self.waiting = waiting
        return True

    def admit(self) -> None:
        self.waiting, self.running = self._admitted(self.waiting)

    def release(self, name: str) -> None:
        self.waiting = [each for each in self.waiting if each.name != name]
        self.running = [each for each in self.running if each.name != name]

    def _in_order(self, waiting: list[Visitor]) -> list[Visitor]:
        return [each for each in waiting if each.priority] + [each for each in waiting if not each.priority]

    def _admitted(self, waiting: list[Visitor]) -> tuple[list[Visitor], list[Visitor]]:
        waiting, running = list(waiting), list(self.running)
        while waiting and len(running) < self.num_slots:
            used_bytes = sum(each.size_bytes for each in [*running, waiting[0]])
            if self.memory_bytes is not None and used_bytes > self.memory_bytes:
                break
            running.append(waiting.pop(0))
        return waiting, running


ADD = st.tuples(st.just("add"), st.booleans(), st.integers(1, 10))
OTHER = st.tuples(st.sampled_from(["admit", "release"]), st.booleans(), st.integers(0, 30))


@given(
    num_slots=st.integers(1, 4),
    max_waiting=st.integers(0, 4),
    memory_bytes=st.none() | st.integers(10, 30),
    actions=st.lists(ADD | OTHER, max_size=40),
)
def test_any_sequence_of_comings_and_goings_follows_the_rules(
    num_slots: int, max_waiting: int, memory_bytes: int | None, actions: list[tuple[str, bool, int]]
) -> None:
    scheduler, reference = (kind(num_slots, max_waiting, memory_bytes) for kind in (Scheduler, Reference))
    for i, (action, priority, number) in enumerate(actions):
        if action == "add":
            visitor = Visitor(f"r{i}", priority, number)
            code_request = replace(request(visitor.name, num_frames=1), priority=priority)
            engine_request = EngineRequest(code_request, (0, 1, 2, 3), 192, visitor.size_bytes)
            try:
                scheduler.add(engine_request)
            except EngineFull:
                assert not reference.add(visitor)
            else:
                assert reference.add(visitor)
        elif action == "admit":
            deque(scheduler.admit(), maxlen=0)
            reference.admit()
        else:
            scheduler.release(f"r{number}")
            reference.release(f"r{number}")
        scheduler.check_integrity()
        assert [each.request_id for each in scheduler.waiting] == [each.name for each in reference.waiting]
        running = {each.request_id for each in scheduler.running.values()}
        assert running == {each.name for each in reference.running}

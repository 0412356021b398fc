"""A step changed in place is the step built anew."""

from __future__ import annotations

import numpy as np

from deployments.language_model.engine.request import EngineRequest
from deployments.language_model.engine.scheduler import Scheduler
from deployments.language_model.engine.step import Step
from deployments.messages import Sampling
from tests.deployments.language_model.random_decoder import CONFIG, request

ARRAYS = ("slots", "branches", "positions", "with_text", "without_text", "drawn", "frames")


def engine_request(name: str, num_frames: int, **options: object) -> EngineRequest:
    return EngineRequest(request(name, num_frames=num_frames, **options), CONFIG.delays, CONFIG.pad_token)


def running(*requests: EngineRequest) -> Scheduler:
    scheduler = Scheduler(num_slots=4, max_waiting=0)
    for each in requests:
        scheduler.add(each)
    list(scheduler.admit())
    return scheduler


def drawn(step: Step) -> None:
    step.advance()
    for i, (_, each) in enumerate(step.drawing):
        each.accept(np.full(4, i + 1))


def test_a_step_that_moves_on_is_the_one_made_anew_until_a_request_ends() -> None:
    plain = Sampling(guidance_scale=1.0)
    scheduler = running(engine_request("a", 5), engine_request("b", 9, sampling=plain), engine_request("c", 6))
    step = Step(scheduler.schedule(64), CONFIG.vocab_size)
    drawn(step)
    moved = 0
    while step.become_next():
        anew = Step(scheduler.schedule(64), CONFIG.vocab_size)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(step, name), getattr(anew, name), name)
        np.testing.assert_array_equal(step.rows().tokens, anew.rows().tokens)
        assert step.rows().slot_positions == anew.rows().slot_positions
        drawn(step)
        moved += 1
    assert moved == 5 + 3 - 1  # "a" has as many steps, and the first was made


def test_a_step_in_which_someone_reads_many_positions_does_not_move_on() -> None:
    prompt = np.zeros((4, 3), np.int16)
    scheduler = running(engine_request("decoding", 8), engine_request("resumed", 8, prompt_codes=prompt))
    step = Step(scheduler.schedule(64), CONFIG.vocab_size)
    assert [each.num_positions for each in step.scheduled] == [1, 4]
    drawn(step)
    assert not step.become_next()


def test_of_a_long_prompt_only_the_last_position_is_drawn_from() -> None:
    scheduler = running(engine_request("resumed", 20, prompt_codes=np.zeros((4, 10), np.int16)))
    first = Step(scheduler.schedule(8), CONFIG.vocab_size)
    assert first.drawing == ()
    assert len(first.slots) == 8
    first.advance()
    second = Step(scheduler.schedule(8), CONFIG.vocab_size)
    second.advance()
    assert second.positions.tolist() == [4, 4, 5, 5, 6, 6, 7, 7]
    third = Step(scheduler.schedule(8), CONFIG.vocab_size)
    assert third.positions[third.with_text].tolist() == [10]
    assert third.frames.tolist() == [[10, 9, 8, 7]]


def test_positions_can_be_read_before_the_tokens_drawn_there_arrive() -> None:
    one = engine_request("one", 2)
    for position in range(one.num_steps):
        assert one.num_readable == 1, position
        assert one.draws_after(1)
        one.advance(1)
    assert one.num_readable == 0
    assert one.num_known_columns == 0
    frames = [one.accept(np.full(4, step)) for step in range(one.num_steps)]
    assert [each.codes[:, 0].tolist() for each in frames if each] == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert one.finished

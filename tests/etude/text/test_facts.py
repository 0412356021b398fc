from __future__ import annotations

import torch

from etude.score.describe import describe
from etude.score.exact import exactly
from etude.score.instruments import FAMILIES
from etude.score.planner import draw_plan
from etude.text.facts import WIDTHS, describe_seeds, facts_of

SEEDS = range(400)


def test_what_is_not_said_is_no_fact_and_what_is_said_is_the_plan_s() -> None:
    texts, facts = describe_seeds(SEEDS)
    plans = [exactly(draw_plan(seed)) for seed in SEEDS]
    said = [describe(plan, 0) for plan in plans]
    assert texts == [each.text for each in said]
    for i, (plan, each) in enumerate(zip(plans, said, strict=True)):
        assert (int(facts.tempo[i].argmax()) > 0) == each.states_tempo
        if each.states_tempo:
            # Class 1 is the quickest beat, 17 frames of 20 ms.
            assert int(facts.tempo[i].argmax()) - 1 + 17 == plan.frames_per_beat
        assert (int(facts.tonic[i]) > 0) == each.states_key
        scale = {pitch for pitch in range(12) if facts.scale[i, pitch]}
        assert scale == (set(plan.key.pitch_classes) if each.states_key else set())
        assert {FAMILIES[k] for k in facts.families[i].nonzero().flatten().tolist()} == set(each.families)
        assert bool(facts.no_drums[i]) == each.says_no_drums


def test_a_tempo_is_a_distribution_over_beats_and_near_ones_are_nearly_right() -> None:
    plans = [exactly(draw_plan(seed)) for seed in SEEDS]
    pairs = [(plan, describe(plan, 0)) for plan in plans]
    told = [(plan, each) for plan, each in pairs if each.states_tempo]
    odds = facts_of([plan for plan, _ in told], [each for _, each in told]).tempo
    torch.testing.assert_close(odds.sum(1), torch.ones(len(told)))
    for row, (plan, _) in zip(odds, told, strict=True):
        place = (plan.frames_per_beat or 0) - 17 + 1
        assert row[place] == row.max()
        if 1 < place < len(row) - 1:
            assert row[place - 1] > 0.01 * row[place]


def test_widths_are_those_of_the_facts() -> None:
    _, facts = describe_seeds(range(3))
    assert facts.tempo.shape[1] == WIDTHS["tempo"]
    assert facts.scale.shape[1] == WIDTHS["scale"]
    assert facts.families.shape[1] == WIDTHS["families"]
    assert facts.of(torch.tensor([2, 0])).genre.tolist() == facts.genre[[2, 0]].tolist()

"""Classifier, Fréchet distance, prompts and the figures made of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from etude.evaluation.classifier import Classifier
from etude.evaluation.following import WITH_DRUMS, WITHOUT_DRUMS, Judges, follow
from etude.evaluation.impression import Impression
from etude.evaluation.likeness import likeness
from etude.evaluation.liveliness import differ, liveliness
from etude.evaluation.prompts import Prompt, prompt_of
from etude.judges.frechet import frechet_distance
from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.shards import Clip

IMPRESSION = Impression(120.0, 2.0, np.full(12, 1 / 12), np.zeros(2), np.zeros((1, 2)), 20.0, -20.0, 0.0)


def test_a_classifier_tells_apart_what_is_apart() -> None:
    draw = np.random.default_rng(0)
    centres = {"flute": (0, 0, 5), "organ": (5, 0, 0), "drums": (0, 5, 0)}
    features = np.concatenate([draw.normal(centre, 1, (40, 3)) for centre in centres.values()])
    labels = [label for label in centres for _ in range(40)]
    classifier = Classifier(features, labels)
    unseen = np.concatenate([draw.normal(centre, 1, (40, 3)) for centre in centres.values()])
    assert np.mean([a == b for a, b in zip(classifier.name(unseen), labels, strict=True)]) > 0.97
    assert classifier.name(unseen) == Classifier(features, labels).name(unseen)
    with pytest.raises(ValueError, match="nothing to tell apart: all examples are flute"):
        Classifier(features[:2], ["flute", "flute"])


def test_the_frechet_distance_of_gaussians_is_the_one_that_is_known() -> None:
    draw = np.random.default_rng(0)
    one = draw.normal(0, 1, (200_000, 2))
    other = draw.normal(0, 1, (200_000, 2)) * [2, 3] + [3, 4]
    # |m|² + (1 - 2)² + (1 - 3)²
    assert frechet_distance(one, other) == pytest.approx(25 + 1 + 4, rel=0.02)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_the_description_that_says_most_is_asked() -> None:
    for seed in range(40):
        plan = draw_plan(seed)
        descriptions = describe_often(plan, 6)
        prompt = prompt_of(Clip(np.zeros(4, dtype=np.int16), descriptions, plan.attributes()))
        (said,) = [each for each in descriptions if each.text == prompt.text]
        assert prompt.tempo_bpm == (plan.tempo_bpm if said.states_tempo else None)
        assert prompt.pitch_classes == (plan.key.pitch_classes if said.states_key else None)
        assert prompt.family == (plan.families[0] if len(plan.families) == 1 and said.families else None)
        assert prompt.drums == (False if said.says_no_drums else True if "drums" in said.families else None)
        assert prompt.facts >= max(each.states_tempo + each.states_key + each.says_no_drums for each in descriptions)


def judge(*labels: str) -> Classifier:
    """Names by the first feature: 0 the first label, 1 the second."""
    return Classifier(np.array([[0.0, 0], [1, 0]] * 4), [*labels] * 4)


def test_what_is_right_and_what_is_chance() -> None:
    """Two of three tempi are right; of the six tempi of other prompts' sounds one is."""
    prompts = [
        Prompt("a", 120.0, (0,), "drums", None),
        Prompt("b", 90.0, None, "flute", False),
        Prompt("c", 60.0, (1,), None, True),
        Prompt("d", None, None, None, None),
    ]
    c_only, half = np.eye(12)[0], (np.eye(12)[0] + np.eye(12)[1]) / 2
    drums, flute = np.zeros(2), np.array([1.0, 0])
    heard = [
        dataclasses.replace(IMPRESSION, tempo_bpm=118.0, chroma=c_only, timbre=drums),
        dataclasses.replace(IMPRESSION, tempo_bpm=140.0, timbre=flute),
        dataclasses.replace(IMPRESSION, tempo_bpm=61.0, chroma=half, timbre=flute),
        dataclasses.replace(IMPRESSION, tempo_bpm=90.0),
    ]
    judges = Judges(judge("drums", "flute"), judge("flute", "drums"), judge(WITH_DRUMS, WITHOUT_DRUMS))
    found = follow(prompts, heard, judges)
    # 120 in 61's double, 60 in 118's half.
    assert (found.tempo.right, found.tempo.chance, found.tempo.prompts) == (2 / 3, 2 / 6, 3)
    assert (found.key.right, found.key.chance, found.key.prompts) == (0.75, 0.25, 2)
    assert (found.family.right, found.family.chance) == (1.0, 0.0)
    assert found.family_through_codec.right == 0.0
    assert (found.drums.right, found.drums.prompts) == (0.5, 2)


def test_nothing_said_is_nothing_measured() -> None:
    found = follow([Prompt("d", None, None, None, None)], [IMPRESSION], Judges(*[judge("a", "b")] * 3))
    assert (found.tempo.right, found.tempo.chance, found.tempo.prompts) == (None, None, 0)


def test_dead_clips_are_counted() -> None:
    draw = np.random.default_rng(0)
    alive = draw.integers(2048, size=(4, 100)).astype(np.int16)
    frozen = np.repeat(alive[:, :1], 100, axis=1)
    pedal = alive.copy()
    pedal[0] = 7  # one codebook may stay as it is
    heard = [
        IMPRESSION,
        dataclasses.replace(IMPRESSION, level_db=-70.0),
        dataclasses.replace(IMPRESSION, clipped=0.01),
    ]
    found = liveliness(heard, [alive, frozen, pedal])
    assert (found.clips, found.silent, found.clipped, found.collapsed) == (3, 1, 1, 1)
    assert not differ(alive, alive)
    assert differ(alive, draw.integers(2048, size=(4, 100)).astype(np.int16))


def test_likeness_is_of_ranks() -> None:
    heard = [dataclasses.replace(IMPRESSION, brightness=b, level_db=-b) for b in (1.0, 2.0, 3.0, 9.0)]
    described = [dataclasses.replace(IMPRESSION, brightness=b, level_db=b) for b in (10.0, 20.0, 21.0, 22.0)]
    found = likeness(heard, described)
    assert (found.brightness, found.level, found.onsets) == (pytest.approx(1), pytest.approx(-1), None)

"""The replicas of the whole application, decided at once from what each deployment reports."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.scaling_stats import EACH_PER_S, EngineStats, Targets, waiting_names
from serve_app.scaling.fleet import DeploymentState, Fleet

IDLE = EngineStats(
    slots=8,
    in_use=0,
    waiting=0,
    waiting_audio_s=0,
    made_audio_s_per_s=0,
    most_audio_s_per_s=100,
    memory_bytes=1e9,
)
LM, BATCH = "m-language-model", "m-batch-language-model"
REALTIME_TARGETS, BATCH_TARGETS = Targets.usual("realtime"), Targets.usual("batch")


def engines(*stats: EngineStats, targets: Targets = REALTIME_TARGETS) -> DeploymentState:
    """One replica for each, as many as requested."""
    reported = [each.numbers(targets) for each in stats]
    numbers = {name: [each[name] for each in reported] for name in (reported[0] if reported else ())}
    return DeploymentState(len(stats), len(stats), 0.0, 1.0, numbers)


def plain(number: int = 1, **numbers: float) -> DeploymentState:
    return DeploymentState(number, number, 0.0, 128.0, {name: [value] * number for name, value in numbers.items()})


def waiting(model: str, queue: str, generations: float, audio_s: float) -> dict[str, float]:
    return dict(zip(waiting_names((model, queue)), (generations, audio_s), strict=True))  # type: ignore[arg-type]


def decided(**deployed: DeploymentState) -> dict[str, int]:
    """By name, with _ for -."""
    usual = {"pipeline": plain(), "ingress": plain(), "m_codec_decoder": plain(), "m_text_encoder": plain()}
    everything = {name.replace("_", "-"): each for name, each in (usual | deployed).items()}
    return Fleet(everything).decide()[0]


def test_an_idle_application_has_the_fewest_replicas() -> None:
    found = decided(m_language_model=engines(IDLE, IDLE), m_codec_decoder=plain(3), m_text_encoder=plain(3))
    assert found == {LM: 0, "m-codec-decoder": 1, "m-text-encoder": 1, "ingress": 1, "pipeline": 1}


def test_an_engine_grows_with_what_waits_in_engines_in_pipelines_and_as_jobs() -> None:
    full = replace(IDLE, in_use=8, made_audio_s_per_s=100)
    alone = decided(m_language_model=engines(full))[LM]
    in_engines = decided(m_language_model=engines(replace(full, waiting=16, waiting_audio_s=480)))[LM]
    in_pipelines = decided(m_language_model=engines(full), pipeline=plain(2, **waiting("m", "realtime", 8, 240)))[LM]
    as_jobs = decided(m_language_model=engines(full), ingress=plain(2, **waiting("m", "realtime", 16, 480)))[LM]
    assert alone < in_engines == in_pipelines == as_jobs, (
        "two pipelines have their own each, two ingresses tell the same"
    )


def test_pools_see_the_work_of_their_own_class_and_a_pool_alone_all_work() -> None:
    queued = plain(1, **waiting("m", "batch", 1000, 30_000))
    full = replace(IDLE, in_use=5, made_audio_s_per_s=60)
    apart = decided(
        m_language_model=engines(full), m_batch_language_model=engines(full, targets=BATCH_TARGETS), ingress=queued
    )
    assert apart[LM] == 1
    assert apart[BATCH] == 5, "30,000 s of audio at 100 a second each, within a minute"
    assert decided(m_language_model=engines(full), ingress=queued)[LM] > 1


def test_batch_work_may_wait_longer_where_real_time_engines_make_it() -> None:
    full = replace(IDLE, in_use=5, made_audio_s_per_s=60)
    batch = decided(m_language_model=engines(full), ingress=plain(1, **waiting("m", "batch", 1000, 6_000)))[LM]
    realtime = decided(m_language_model=engines(full), ingress=plain(1, **waiting("m", "realtime", 1000, 6_000)))[LM]
    assert batch < realtime


def test_a_deployment_that_was_never_up_stays_until_serve_starts_it() -> None:
    asleep = DeploymentState(0, 0, 0.0, 1.0, {})
    assert decided(m_language_model=asleep)[LM] == 0
    assert decided(m_language_model=replace(asleep, target=1))[LM] == 1, "Serve has begun to start one"


def test_what_engines_reported_is_remembered_when_none_is_up() -> None:
    queued = plain(1, **waiting("m", "batch", 1000, 30_000))
    _, known = Fleet({"m-codec-decoder": plain(), BATCH: engines(IDLE, targets=BATCH_TARGETS)}).decide()
    asleep = DeploymentState(0, 0, 0.0, 1.0, {}, known[BATCH])
    assert decided(m_batch_language_model=asleep, ingress=queued)[BATCH] == 5


def test_targets_that_an_operator_changes_change_what_is_decided() -> None:
    busy = replace(IDLE, in_use=5, made_audio_s_per_s=60)
    usual = decided(m_language_model=engines(busy))[LM]
    roomy = decided(m_language_model=engines(busy, targets=Targets(0.2, 1.0)))[LM]
    assert usual < roomy


def test_decoders_and_encoders_follow_the_engines() -> None:
    full = replace(IDLE, in_use=8, made_audio_s_per_s=100)
    decoder, encoder = plain(1, **{EACH_PER_S: 50.0}), plain(1, **{EACH_PER_S: 10.0})
    found = decided(m_language_model=engines(full), m_codec_decoder=decoder, m_text_encoder=encoder)
    assert found["m-codec-decoder"] == 3, "100 audio-seconds a second, and 50 each, to 70 %"
    assert found["m-text-encoder"] == 3, "20 prompts a second at 5 s each, and 10 each, to 70 %"


def test_ingress_and_pipelines_have_as_many_as_requests_need() -> None:
    assert decided(pipeline=replace(plain(), num_requests=300.0))["pipeline"] == 3


@given(
    in_use=st.lists(st.floats(0, 8), min_size=1, max_size=5),
    waits=st.floats(0, 1e4),
    target=st.integers(0, 50),
    made=st.floats(0, 200),
)
def test_whatever_is_reported_every_deployment_gets_a_number(
    in_use: list[float], waits: float, target: int, made: float
) -> None:
    stats = [replace(IDLE, in_use=each, made_audio_s_per_s=made) for each in in_use]
    pool = replace(engines(*stats), target=target)
    found = decided(m_language_model=pool, ingress=plain(1, **waiting("m", "realtime", waits, 30 * waits)))
    assert set(found) == {LM, "m-codec-decoder", "m-text-encoder", "ingress", "pipeline"}
    assert all(isinstance(number, int) and 0 <= number < 1e6 for number in found.values())


@pytest.mark.parametrize("queue", ["realtime", "batch"])
def test_two_models_do_not_see_each_others_work(queue: str) -> None:
    full = replace(IDLE, in_use=5, made_audio_s_per_s=60)
    deployed = {
        "m-codec-decoder": plain(),
        "other-codec-decoder": plain(),
        LM: engines(full),
        "other-language-model": engines(full),
        "ingress": plain(1, **waiting("other", queue, 500, 10_000)),
    }
    found = Fleet(deployed).decide()[0]
    assert found[LM] == 1 < found["other-language-model"]

"""How many replicas each deployment of the application should have: language models first, the others follow.

Language models get as many as their work needs (`policy.py`). Text encoders and codec decoders have to keep up with
what the language models will make, so that they are there when it comes. Ingress and pipelines hold requests, and get
as many as those need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.messages import QueueClass
from deployments.scaling_stats import EACH_PER_S, Targets, waiting_names
from serve_app.scaling import policy
from serve_app.scaling.policy import PoolLoad, desired_followers, desired_replicas, expected_audio_s_per_s
from serve_app.settings.replicas import INGRESS, PIPELINE, codec_decoder_name, language_model_name, text_encoder_name

# The share of a follower's capacity to use, so that windows and prompts do not queue up.
_FOLLOWERS_LOAD = 0.7
# Seconds of music for each prompt that is encoded: most clips are at least so long.
_CLIP_S = 5.0
_QUEUES: tuple[QueueClass, ...] = ("realtime", "batch")


@dataclass(frozen=True)
class DeploymentState:
    """One deployment, as Serve sees it.

    replicas: that are up. target: that Serve was told to have. num_requests: at its replicas, and waiting for them.
    target_requests: of one replica. numbers: by name, what each replica reports. known: the state that the last
    decision returned.
    """

    replicas: int
    target: int
    num_requests: float
    target_requests: float
    numbers: Mapping[str, Sequence[float]]
    known: Mapping[str, float] = field(default_factory=dict)

    def total(self, name: str) -> float:
        return sum(self.numbers.get(name, ()))

    def most(self, name: str) -> float:
        """The largest of all replicas' numbers, or the last one known; 0 if nothing is known."""
        return max(self.numbers.get(name, ()), default=self.known.get(name, 0.0))


class Fleet:
    """One decision for the whole application. deployed: by name, the deployments to scale."""

    def __init__(self, deployed: Mapping[str, DeploymentState]) -> None:
        self._deployed = deployed
        self._desired: dict[str, int] = {}
        self._known: dict[str, dict[str, float]] = {}

    def decide(self) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
        """Returns, by deployment, the replicas that it should have, and its state for the next decision."""
        for model in self._models():
            demand_per_s = sum(self._engines(model, queue) for queue in _QUEUES)
            self._follow(codec_decoder_name(model), demand_per_s)
            self._follow(text_encoder_name(model), demand_per_s / _CLIP_S)
        for name in (INGRESS, PIPELINE):
            each = self._deployed.get(name)
            if each is not None:
                self._desired[name] = max(1, -(-int(each.num_requests) // int(each.target_requests)))
        return self._desired, self._known

    def _models(self) -> list[str]:
        suffix = codec_decoder_name("")
        return [name.removesuffix(suffix) for name in self._deployed if name.endswith(suffix)]

    def _engines(self, model: str, queue: QueueClass) -> float:
        """Decides for a model's engines of this class. Returns the audio-seconds a second that they will make."""
        name = language_model_name(model, queue)
        each = self._deployed.get(name)
        if each is None:
            return 0.0
        names = ("slots", "most_audio_s_per_s", "target_load", "target_wait_s")
        known = {of: each.most(of) for of in names}
        self._known[name] = known
        if not known["slots"]:  # none has been up yet: Serve starts the first one for the first request
            self._desired[name] = each.target
            return 0.0
        waiting, waiting_audio_s = each.total("waiting"), each.total("waiting_audio_s")
        for queue_of in self._queues_of(model, queue):
            of, audio_s_of = waiting_names((model, queue_of))
            waiting += self._elsewhere(of)
            # Engines that make both classes have more time for batch work, so less of it counts at once.
            urgency = min(1.0, known["target_wait_s"] / Targets.usual(queue_of).target_wait_s)
            waiting_audio_s += urgency * self._elsewhere(audio_s_of)
        throughput = known["most_audio_s_per_s"]
        load = PoolLoad(
            replicas=each.replicas,
            target=each.target,
            slots=int(known["slots"]),
            in_use=each.total("in_use"),
            waiting=waiting,
            waiting_audio_s=waiting_audio_s,
            made_audio_s_per_s=each.total("made_audio_s_per_s") if throughput else None,
            audio_s_per_s=throughput or None,
        )
        targets = policy.Targets(load=known["target_load"], wait_s=known["target_wait_s"])
        self._desired[name] = desired_replicas(load, targets)
        return expected_audio_s_per_s(load, targets)

    def _queues_of(self, model: str, queue: QueueClass) -> tuple[QueueClass, ...]:
        """The queue classes that these engines work for: both, where there are no batch engines."""
        has_batch = language_model_name(model, "batch") in self._deployed
        return (queue,) if has_batch else _QUEUES

    def _elsewhere(self, name: str) -> float:
        """Work that no engine has accepted: each pipeline reports its own, every ingress all queued jobs."""
        pipeline = self._deployed.get(PIPELINE)
        ingress = self._deployed.get(INGRESS)
        return (pipeline.total(name) if pipeline else 0.0) + (ingress.most(name) if ingress else 0.0)

    def _follow(self, name: str, demand_per_s: float) -> None:
        each = self._deployed.get(name)
        if each is None:
            return
        each_per_s = each.most(EACH_PER_S)
        self._known[name] = {EACH_PER_S: each_per_s}
        self._desired[name] = max(1, desired_followers(demand_per_s, each_per_s or None, each.target, _FOLLOWERS_LOAD))

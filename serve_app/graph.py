"""The application graph: the one place that binds deployments and sets Serve's options.

    client → ingress → pipeline → text encoder, language model, batch language model if there is one (for every model)
                     → codec decoder (likewise)

`build` is what a deploy file's `import_path` names; its `args` are `serve_app.settings.application.Settings`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from deployments.codec_decoder.deployment import CodecDecoderDeployment
from deployments.language_model.deployment import LanguageModelDeployment
from deployments.messages import ModelCard, QueueClass
from deployments.text_encoder.deployment import TextEncoderDeployment
from serve_app.api.deployment import IngressDeployment
from serve_app.job import QUEUE_CLASSES
from serve_app.pipeline.deployment import ModelHandles, PipelineDeployment
from serve_app.settings.application import Settings
from serve_app.settings.model import ModelSettings
from serve_app.settings.replicas import (
    INGRESS,
    PIPELINE,
    AutoscalingSettings,
    ReplicaSettings,
    codec_decoder_name,
    language_model_name,
    text_encoder_name,
)

# For deployments whose work others can resume: a generation that is not finished in this time goes on elsewhere.
GRACEFUL_SHUTDOWN_TIMEOUT_S = 20.0
# Serve replaces a replica that fails three checks in a row. The pipeline has moved its work elsewhere by then.
HEALTH_CHECK_PERIOD_S = 5.0
HEALTH_CHECK_TIMEOUT_S = 10.0
# Requests for one generation go to one pipeline replica: any other one would only wait for what that one makes.
BY_GENERATION = RequestRouterConfig(
    request_router_class=ConsistentHashRouter, request_router_kwargs={"num_fallback_replicas": 0}
)
# A checkpoint that cannot be loaded now cannot be loaded a moment later: the deployment fails and says why.
MAX_CONSTRUCTOR_RETRIES = 1


def build(args: dict[str, Any]) -> Application:
    """The application of these settings, for `serve run` and `serve deploy`.

    Raises: pydantic.ValidationError for wrong settings, before anything is started.
    """
    settings = Settings.model_validate(args)
    loaded = settings.loaded
    handles = {name: _Model(name, model, settings).bound() for name, model in loaded.items()}
    cards = [_card(name, model, name in loaded) for name, model in settings.models.items()]
    deadlines = {name: model.deadline for name, model in loaded.items()}
    in_flight = settings.max_ongoing_requests
    # Clients wait for what pipelines and ingress hold, so these get as long as the longest clip may take.
    longest_s = max(model.deadline.seconds(model.max_duration_ms / 1000) for model in loaded.values())
    scales = settings.scales
    pipeline = _deployment(PipelineDeployment, PIPELINE, settings.pipeline, in_flight, scales=scales).options(
        graceful_shutdown_timeout_s=longest_s, request_router_config=BY_GENERATION
    )
    ingress = _deployment(
        serve.ingress()(IngressDeployment), INGRESS, settings.ingress, in_flight, scales=scales
    ).options(graceful_shutdown_timeout_s=longest_s)
    application: Application = ingress.bind(
        pipeline.bind(handles, deadlines, settings.cache, settings.records, _may_be_none(loaded)),
        {name: each.codec_decoder for name, each in handles.items()},
        cards,
        settings.default_model,
        settings.http,
        settings.cache,
        settings.records,
        settings.jobs,
        settings.access,
        [name for name, model in loaded.items() if not model.language_model.fewest],
    )
    return application


class _Model:
    """Binds one model's deployments."""

    def __init__(self, name: str, model: ModelSettings, settings: Settings) -> None:
        self._name = name
        self._model = model
        self._scales = settings.scales
        self._cpu_share = settings.cpu_share(name)
        self._source = model.source, model.revision

    def bound(self) -> ModelHandles:
        """The model's applications, for which Serve will pass handles."""
        model, name = self._model, self._name
        in_flight = model.slots + model.max_queued
        text_encoder = _deployment(
            TextEncoderDeployment,
            text_encoder_name(name),
            model.text_encoder,
            in_flight,
            scales=self._scales,
        )
        codec_decoder = _deployment(
            CodecDecoderDeployment,
            codec_decoder_name(name),
            model.codec_decoder,
            in_flight,
            scales=self._scales,
        )
        batch = model.batch_language_model
        return ModelHandles(
            text_encoder.bind(*self._source, model=name),
            self._language_model("realtime", model.language_model),
            None if batch is None else self._language_model("batch", batch),
            codec_decoder.bind(*self._source, model=name),
        )

    def _language_model(self, queue: QueueClass, replicas: ReplicaSettings) -> Application:
        model = self._model
        # More than the engine accepts, so that the engine refuses at once and nothing waits in Serve's router.
        in_flight = 2 * (model.slots + model.max_queued)
        deployment = _deployment(
            LanguageModelDeployment,
            language_model_name(self._name, queue),
            replicas,
            in_flight,
            scales=self._scales,
            num_gpus=model.placement.num_gpus,
        )
        if replicas.autoscaling is not None:
            deployment = deployment.options(user_config=replicas.autoscaling.targets(queue).user_config())
        return deployment.bind(
            *self._source,
            dtype=model.dtype,
            placement=model.placement.resolved(),
            cpu_share=self._cpu_share,
            num_slots=model.slots,
            max_waiting=model.max_queued,
            max_duration_ms=model.max_duration_ms,
            model=self._name,
            pool=queue,
        )


def _deployment(
    plain_class: type,
    name: str,
    replicas: ReplicaSettings,
    max_ongoing_requests: int,
    *,
    scales: bool,
    num_gpus: float = 0,
) -> Deployment:
    """A deployment with Serve's options. scales: whether the autoscaling policy sets its number of replicas."""
    placing: dict[str, Any] = {}
    if replicas.nodes:
        first, *others = map(dict, replicas.nodes)
        placing = {"label_selector": first, "fallback_strategy": [{"label_selector": each} for each in others]}
    number: dict[str, Any] = {"num_replicas": replicas.num_replicas}
    if scales:
        number = {"autoscaling_config": _autoscaling(replicas, max_ongoing_requests)}
    return serve.deployment(
        plain_class,
        name=name,
        max_ongoing_requests=max_ongoing_requests,
        graceful_shutdown_timeout_s=GRACEFUL_SHUTDOWN_TIMEOUT_S,
        max_constructor_retry_count=MAX_CONSTRUCTOR_RETRIES,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
        ray_actor_options={"num_cpus": replicas.num_cpus, "num_gpus": num_gpus, **placing},
        **number,
    )


def _autoscaling(replicas: ReplicaSettings, max_ongoing_requests: int) -> AutoscalingConfig:
    """Serve's autoscaling options. A deployment of fixed size has them too, as the others' sizes depend on its load."""
    number = replicas.num_replicas
    scaling = replicas.autoscaling or AutoscalingSettings(min_replicas=number, max_replicas=number)
    with warnings.catch_warnings():
        # Deprecated, but the environment variables that are to replace it are not read yet (Ray 2.60).
        warnings.simplefilter("ignore", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            initial_replicas=scaling.first,
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=max(1.0, max_ongoing_requests / 2),
            upscale_delay_s=scaling.upscale_delay_s,
            downscale_delay_s=scaling.downscale_delay_s,
            downscale_to_zero_delay_s=scaling.downscale_to_zero_delay_s,
            metrics_interval_s=scaling.look_back_s / 2,
            look_back_period_s=scaling.look_back_s,
        )


def _may_be_none(models: Mapping[str, ModelSettings]) -> list[str]:
    """The names of language models that may scale to zero."""
    pools = {
        language_model_name(name, queue): replicas
        for name, model in models.items()
        for queue, replicas in zip(QUEUE_CLASSES, model.language_models, strict=False)
    }
    return [name for name, replicas in pools.items() if not replicas.fewest]


def _card(name: str, model: ModelSettings, is_accepted: bool) -> ModelCard:
    return ModelCard(
        name=name,
        source=model.source,
        revision=model.revision,
        license=model.license,
        max_duration_ms=model.max_duration_ms,
        accepted=is_accepted,
    )

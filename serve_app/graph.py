"""The application graph: the one place that binds deployments and sets Serve's options.

    client → ingress → pipeline → text encoder, language model (one of each for every model)
                     → codec decoder (likewise)

`build` is what a deploy file's `import_path` names; its `args` are `serve_app.settings.Settings`.
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import RequestRouterConfig
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

from deployments.codec_decoder.deployment import CodecDecoderDeployment
from deployments.language_model.cpu_share import CpuShare
from deployments.language_model.deployment import LanguageModelDeployment
from deployments.messages import ModelCard
from deployments.text_encoder.deployment import TextEncoderDeployment
from serve_app.api.deployment import IngressDeployment
from serve_app.pipeline.deployment import PipelineDeployment
from serve_app.settings import ModelSettings, ReplicaSettings, Settings

# Of what others can go on with: a generation that a language model does not end in this time goes on elsewhere.
GRACEFUL_SHUTDOWN_TIMEOUT_S = 20.0
# A replica that fails three times in a row is replaced. What it held has gone elsewhere by then (`pipeline/`).
HEALTH_CHECK_PERIOD_S = 5.0
HEALTH_CHECK_TIMEOUT_S = 10.0
# Requests for one generation meet in one replica. Another one would wait there for what the first makes.
BY_GENERATION = RequestRouterConfig(
    request_router_class=ConsistentHashRouter, request_router_kwargs={"num_fallback_replicas": 0}
)
# A checkpoint that can't be loaded now can't be a moment later: the deployment fails and says why.
MAX_CONSTRUCTOR_RETRIES = 1


def build(args: dict[str, Any]) -> Application:
    """The application of these settings, for `serve run` and `serve deploy`.

    Raises: pydantic.ValidationError for settings that are not right; nothing has been started by then.
    """
    settings = Settings.model_validate(args)
    loaded = settings.loaded
    handles = {name: _model(name, model, settings.cpu_share(name)) for name, model in loaded.items()}
    cards = [_card(name, model, name in loaded) for name, model in settings.models.items()]
    deadlines = {name: model.deadline for name, model in loaded.items()}
    in_flight = settings.max_ongoing_requests
    # What they hold, clients wait for: it gets the time that it may take.
    patience_s = max(model.deadline.seconds(model.max_duration_ms / 1000) for model in loaded.values())
    pipeline = _deployment(PipelineDeployment, "pipeline", settings.pipeline, in_flight).options(
        graceful_shutdown_timeout_s=patience_s, request_router_config=BY_GENERATION
    )
    ingress = _deployment(serve.ingress()(IngressDeployment), "ingress", settings.ingress, in_flight).options(
        graceful_shutdown_timeout_s=patience_s
    )
    codecs = {name: codec_decoder for name, (_, _, codec_decoder) in handles.items()}
    application: Application = ingress.bind(
        pipeline.bind(handles, deadlines, settings.cache, settings.records),
        codecs,
        cards,
        settings.default_model,
        settings.http,
        settings.cache,
        settings.records,
        settings.jobs,
        settings.access,
    )
    return application


def _model(name: str, model: ModelSettings, cpu_share: CpuShare) -> tuple[Application, Application, Application]:
    in_flight = model.slots + model.max_queued
    source = model.source, model.revision
    text_encoder = _deployment(TextEncoderDeployment, f"{name}-text-encoder", model.text_encoder, in_flight)
    # More than the engine takes: the refusal is the engine's to give, at once, rather than a wait in Serve's router.
    language_model = _deployment(
        LanguageModelDeployment, f"{name}-language-model", model.language_model, 2 * in_flight, model.placement.num_gpus
    )
    codec_decoder = _deployment(CodecDecoderDeployment, f"{name}-codec-decoder", model.codec_decoder, in_flight)
    bound_language_model = language_model.bind(
        *source,
        dtype=model.dtype,
        placement=model.placement.resolved(),
        cpu_share=cpu_share,
        num_slots=model.slots,
        max_waiting=model.max_queued,
        max_duration_ms=model.max_duration_ms,
    )
    return text_encoder.bind(*source), bound_language_model, codec_decoder.bind(*source)


def _deployment(
    plain_class: type, name: str, replicas: ReplicaSettings, max_ongoing_requests: int, num_gpus: float = 0
) -> Deployment:
    return serve.deployment(
        plain_class,
        name=name,
        num_replicas=replicas.num_replicas,
        max_ongoing_requests=max_ongoing_requests,
        graceful_shutdown_timeout_s=GRACEFUL_SHUTDOWN_TIMEOUT_S,
        max_constructor_retry_count=MAX_CONSTRUCTOR_RETRIES,
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
        ray_actor_options={"num_cpus": replicas.num_cpus, "num_gpus": num_gpus},
    )


def _card(name: str, model: ModelSettings, is_accepted: bool) -> ModelCard:
    return ModelCard(
        name=name,
        source=model.source,
        revision=model.revision,
        license=model.license,
        max_duration_ms=model.max_duration_ms,
        accepted=is_accepted,
    )

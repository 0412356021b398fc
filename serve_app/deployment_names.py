"""What deployments are called: in Serve's status, in metrics, in a deploy file's `deployments`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployments.messages import QueueClass

INGRESS, PIPELINE = "ingress", "pipeline"


def text_encoder(model: str) -> str:
    return f"{model}-text-encoder"


def codec_decoder(model: str) -> str:
    return f"{model}-codec-decoder"


def language_model(model: str, queue: QueueClass = "realtime") -> str:
    """The one that makes `realtime` requests has no mark, since it often makes all."""
    return f"{model}-batch-language-model" if queue == "batch" else f"{model}-language-model"


def language_models(pools: Mapping[str, Sequence[QueueClass]]) -> list[str]:
    """pools: by model, the queue classes that have language models of their own."""
    return [language_model(model, queue) for model, queues in pools.items() for queue in queues]


def all_of(pools: Mapping[str, Sequence[QueueClass]]) -> list[str]:
    """Of the whole application."""
    beside = [name(model) for model in pools for name in (text_encoder, codec_decoder)]
    return [INGRESS, PIPELINE, *language_models(pools), *beside]

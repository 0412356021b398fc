"""What deployments are called: in Serve's status, in metrics, in a deploy file's `deployments`."""

from __future__ import annotations

from deployments.messages import QueueClass

INGRESS, PIPELINE = "ingress", "pipeline"


def text_encoder(model: str) -> str:
    return f"{model}-text-encoder"


def codec_decoder(model: str) -> str:
    return f"{model}-codec-decoder"


def language_model(model: str, queue: QueueClass = "realtime") -> str:
    """The one that makes `realtime` requests has no mark, since it often makes all."""
    return f"{model}-batch-language-model" if queue == "batch" else f"{model}-language-model"

"""Which group of nodes a deployment of a deploy file may be on, by labels and by what a node has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.settings.model import ModelSettings


@dataclass(frozen=True)
class Group:
    """Nodes of one kind. cpus, gpus: of each."""

    name: str
    labels: Mapping[str, str]
    cpus: float
    gpus: float

    @property
    def is_spot(self) -> bool:
        """Whether its nodes may be taken back."""
        return self.labels["ray.io/market-type"] == "spot"


def _replicas(file: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Every deployment of the first application: name, settings of its replicas, GPUs of each."""
    args = file["applications"][0]["args"]
    yield "ingress", args["ingress"], 0
    yield "pipeline", args["pipeline"], 0
    for name, model in args["models"].items():
        gpus = ModelSettings.model_validate(model).placement.num_gpus
        yield f"{name}-text-encoder", model["text_encoder"], 0
        yield f"{name}-codec-decoder", model["codec_decoder"], 0
        yield f"{name}-language-model", model["language_model"], gpus
        yield f"{name}-batch-language-model", model["batch_language_model"], gpus


def selectors(file: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every deployment with each of the sets of labels that it asks of a node."""
    for name, replicas, _ in _replicas(file):
        for labels in replicas["nodes"]:
            yield name, labels


def unplaceable(file: dict[str, Any], groups: list[Group]) -> list[str]:
    """What no group has room for, for each set of labels; and what is alone on a GPU's node without needing it."""
    wrong = []
    for name, replicas, gpus in _replicas(file):
        for labels in replicas["nodes"]:
            fitting = [
                group
                for group in groups
                if labels.items() <= group.labels.items() and replicas["num_cpus"] <= group.cpus and gpus <= group.gpus
            ]
            if not fitting:
                wrong.append(f"{name}: no group has {labels} and room for it")
            if not gpus and any(group.gpus for group in fitting):
                wrong.append(f"{name}: may take the place of a GPU's work")
    return wrong

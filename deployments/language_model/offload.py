"""A decoder whose weights are where there is room for them: on a GPU, in memory, on disk.

accelerate chooses where each matrix is kept, and moves it to where it is computed for as long as its product takes.
What is on disk is memory-mapped: a CPU reads it where it is, and the memory is free when it is needed elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from accelerate import dispatch_model, infer_auto_device_map
from torch import Tensor, nn

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu.decoder import limit_memory
from deployments.language_model.model import MAX_ROWS, KVCache, MusicgenDecoder
from deployments.language_model.offload_folder import OffloadFolder
from deployments.language_model.placement import Offloaded, PlacementError, in_words
from deployments.language_model.weights import DecoderWeights, WeightSource, block_of, blocks, put

DISK = "disk"

# Of what is left for weights, how much is used: allocators round up, and no estimate knows everything.
SAFETY = 0.95
# Of each slot's prompt: 2,000 characters of English. Longer prompts have the safety margin.
TEXT_TOKENS = 512

# No step reads these, so others are kept nearer.
_ONCE_A_REQUEST = ("cross_kv", "text_projection")


@dataclass(frozen=True)
class OffloadPlan:
    """Where each tensor is kept.

    Attributes:
        places: tensor → the device that keeps it, or DISK.
        sizes: tensor → its bytes.
        device: that computes.
    """

    device: str
    places: Mapping[str, str]
    sizes: Mapping[str, int]

    def bytes_on(self, place: str) -> int:
        return sum(size for name, size in self.sizes.items() if self.places[name] == place)

    def __str__(self) -> str:
        places = sorted(set(self.places.values()), key=lambda place: (place == DISK, place != self.device))
        return ", ".join(f"{in_words(self.bytes_on(place))} on {place}" for place in places)


class OffloadedDecoder(MusicgenDecoder):
    """The plain decoder on weights that accelerate moves.

    Args:
        plan: where its weights are.
        folder: that keeps those on disk, let go by `close`.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        max_positions: int,
        plan: OffloadPlan,
        folder: OffloadFolder | None,
    ) -> None:
        super().__init__(config, weights, max_positions)
        self.plan = plan
        self._folder = folder

    @property
    def folder(self) -> Path | None:
        """Where its weights on disk are, if there are any."""
        return self._folder.path if self._folder else None

    def close(self) -> None:
        if self._folder is not None:
            self._folder.close()


def load_offloaded(
    source: WeightSource, placement: Offloaded, max_positions: int, num_slots: int, fingerprint: Callable[[], str]
) -> OffloadedDecoder:
    """Plans where the weights go, and reads them there.

    Args:
        fingerprint: of the checkpoint; called if something goes to disk.

    Raises:
        PlacementError: When there is no room for the weights.
        CheckpointError: As `weight_source`.
    """
    if placement.gpu_bytes is not None:
        limit_memory(1.0, placement.gpu_bytes, placement.device)
    weights = source.empty()
    plan = plan_offload(weights, placement, reserved_bytes(source.config, max_positions, num_slots))
    with ExitStack() as held:
        folder = None
        if DISK in plan.places.values():
            folder = _folder(source, plan, placement, fingerprint)
            held.callback(folder.close)
        for block in blocks(weights):
            for device in {plan.places[name] for name in block} - {DISK}:
                own = {name: tensor for name, tensor in block.items() if plan.places[name] == device}
                put(weights, source.tensors(own, device))
        dispatch_model(
            weights,
            {_owner(name): place for name, place in plan.places.items()},
            main_device=plan.device,
            offload_index=folder.accelerate_index() if folder else None,
        )
        decoder = OffloadedDecoder(source.config, weights, max_positions, plan, folder)
        held.pop_all()
    return decoder


def reserved_bytes(config: DecoderConfig, max_positions: int, num_slots: int) -> int:
    """Of the computing device, for all but weights: every slot's keys and values at their longest, and one step."""
    cache = KVCache(config, num_slots, max_positions, "meta")
    text = num_slots * config.num_layers * 2 * TEXT_TOKENS * config.width * 4
    row = 4 * config.num_codebooks * config.vocab_size + 2 * config.ffn_width + 10 * config.width
    step = 4 * (MAX_ROWS * row + max_positions * config.width)
    return sum(tensor.nbytes for tensor in (*cache.keys, *cache.values)) + text + step


def plan_offload(weights: DecoderWeights, placement: Offloaded, reserved_bytes: int) -> OffloadPlan:
    """Where the tensors of these weights, which may be on the meta device, go.

    Args:
        reserved_bytes: of the computing device's memory, not for weights.

    Raises:
        PlacementError: When that leaves too little, or weights are left over and there is no folder for them.
    """
    sizes = {name: tensor.nbytes for name, tensor in weights.state_dict().items()}
    key, given = ("cpu", placement.cpu_bytes) if placement.gpu_bytes is None else ("gpu", placement.gpu_bytes)
    left = int(SAFETY * (given - reserved_bytes))
    # The embedding stays there, and the largest matrix has to come there from wherever it is kept.
    least = sizes["embed.weight"] + max(size for name, size in sizes.items() if name != "embed.weight")
    if left < least:
        raise PlacementError(
            f"max_memory.{key} is {in_words(given)}; keys, values and what a step computes take "
            f"{in_words(reserved_bytes)} of it, and weights need at least {in_words(least / SAFETY)} more: "
            "give it more, or set fewer slots or a shorter max_duration_ms"
        )
    memory: dict[str | int, int] = {"cpu": left} if key == "cpu" else {0: left, "cpu": placement.cpu_bytes}
    by_module = infer_auto_device_map(_by_use(weights), memory, clean_result=False)
    by_module = {name.replace("/", "."): placement.device if place == 0 else place for name, place in by_module.items()}
    plan = OffloadPlan(placement.device, {name: by_module[_owner(name)] for name in sizes}, sizes)
    if placement.folder is None and DISK in plan.places.values():
        raise PlacementError(
            f"max_memory leaves no room for {in_words(plan.bytes_on(DISK))} of {in_words(sum(sizes.values()))} of "
            "weights: give it more, or name a folder for them"
        )
    return plan


def _by_use(weights: DecoderWeights) -> nn.Module:
    """A module of all matrices and norms, those that a step reads first: accelerate places them in this order."""
    ordered = nn.Module()
    leaves = {_owner(name): weights.get_submodule(_owner(name)) for name in weights.state_dict()}
    for name, leaf in sorted(leaves.items(), key=lambda item: item[0].endswith(_ONCE_A_REQUEST)):
        ordered.add_module(name.replace(".", "/"), leaf)
    return ordered


def _owner(name: str) -> str:
    """The module a tensor belongs to: `layers.3.self_qkv.weight` → `layers.3.self_qkv`."""
    return name.rpartition(".")[0]


def _folder(
    source: WeightSource, plan: OffloadPlan, placement: Offloaded, fingerprint: Callable[[], str]
) -> OffloadFolder:
    assert placement.folder is not None
    names = [name for name, place in plan.places.items() if place == DISK]
    identity = json.dumps([fingerprint(), source.dtype, names])
    return OffloadFolder.open(placement.folder, identity, plan.bytes_on(DISK), _blocks_on_disk(source, plan))


def _blocks_on_disk(source: WeightSource, plan: OffloadPlan) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    for block in blocks(source.empty()):
        wanted = {name: tensor for name, tensor in block.items() if plan.places[name] == DISK}
        if wanted:
            yield block_of(next(iter(wanted))), source.tensors(wanted, "cpu")

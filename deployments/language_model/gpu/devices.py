"""The GPUs this process has been given, and its part of their memory."""

from __future__ import annotations

import torch

from deployments.language_model.placement import PlacementError, in_words


def require_gpus(count: int) -> None:
    """Raises: PlacementError if this process sees fewer."""
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < count:
        gpus = "a GPU" if count == 1 else f"{count} GPUs"
        raise PlacementError(f"the placement asks for {gpus}, and this process sees {seen or 'none'}")


def limit_memory(fraction: float, memory_bytes: int | None, device: str = "cuda:0") -> None:
    """Has torch refuse this process more than so many bytes, or the fraction, of a GPU's memory: its neighbours on the
    card keep theirs. What torch doesn't allocate itself, some hundred MB in each process, is not counted.

    Raises: PlacementError if there is no GPU, or it has less memory.
    """
    require_gpus(1)
    share = memory_share(fraction, memory_bytes, torch.cuda.get_device_properties(device).total_memory)
    torch.cuda.set_per_process_memory_fraction(share, device)


def memory_share(fraction: float, memory_bytes: int | None, total_bytes: int) -> float:
    """Of a card's memory, in (0, 1]. Raises: PlacementError if the card has less."""
    if memory_bytes is None:
        return fraction
    if memory_bytes > total_bytes:
        raise PlacementError(
            f"the placement may take {in_words(memory_bytes)} of a GPU's memory, and it has {in_words(total_bytes)}"
        )
    return memory_bytes / total_bytes


def held_bytes() -> int:
    """What torch holds of all GPUs, in use or not."""
    return (
        sum(torch.cuda.memory_reserved(i) for i in range(torch.cuda.device_count())) if torch.cuda.is_available() else 0
    )


def layer_devices(num_layers: int, count: int) -> list[str]:
    """The GPU of each layer, in equal runs."""
    return [f"cuda:{i * count // num_layers}" for i in range(num_layers)]

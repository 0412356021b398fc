"""The GPU's decoder, as the engine sees it: a `decoder.DeviceDecoder`.

Weights are bfloat16, 8 bits (one scale an output) or float32; keys and values, and what is multiplied with weights,
bfloat16 (float32 with float32 weights). Sums, residuals, norms, positions and logits are float32.

Also which GPUs this process has been given, and its part of their memory.
"""

from __future__ import annotations

import torch

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu.matrix import Matrices
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.program import Program, buckets
from deployments.language_model.gpu.reference import ReferenceOperations
from deployments.language_model.gpu.state import PAGE, Pages, State, pages_of
from deployments.language_model.gpu.stepper import GpuStepper
from deployments.language_model.model import sinusoidal_positions
from deployments.language_model.placement import PlacementError, in_words
from deployments.language_model.weights import DecoderWeights


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


TYPICAL_TEXT_TOKENS = 256
GRAPHS_BYTES = 2**30  # what is left for graphs, compiled kernels and the products of a text


class GpuDecoder:
    """weights: on the device; those of an int8 decoder are rounded here. dtype: bfloat16 | int8 | float32.

    max_positions: the most of a generation. max_rows: of a step. operations: Triton's kernels on a GPU, else plain
    torch. Raises: ValueError for a shape the kernels don't have.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        dtype: str,
        max_positions: int,
        *,
        max_rows: int = 128,
        operations: Operations | None = None,
    ) -> None:
        self.config = config
        self.max_rows = max_rows
        self._dtype = dtype
        self._compute = torch.float32 if dtype == "float32" else torch.bfloat16
        self._device = str(weights.embedding.device)
        self._max_positions = max_positions
        self._matrices = Matrices.of(weights, dtype)
        self._positions = sinusoidal_positions(max_positions, config.width).to(self._device)
        self._operations = operations or self._own_operations()

    @property
    def step_bytes(self) -> int:
        return self._matrices.step_bytes

    @property
    def numerics(self) -> str:
        """Kernels are compiled for the GPU at hand."""
        if not self._device.startswith("cuda"):
            return f"{self._dtype} paged {torch.backends.cpu.get_cpu_capability()}"
        import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]

        return f"{self._dtype} {torch.cuda.get_device_name(self._device)} triton {triton.__version__}"

    @property
    def page_bytes(self) -> int:
        """Of PAGE positions of one branch: keys and values of every layer."""
        return 2 * PAGE * self.config.num_layers * self.config.width * self._compute.itemsize

    def bytes_of(self, num_positions: int, num_branches: int, num_text_tokens: int) -> int:
        """Whole pages."""
        return pages_of(num_positions, num_branches, num_text_tokens) * self.page_bytes

    def new_stepper(self, num_slots: int, memory_bytes: int | None, *, keep_logits: bool) -> GpuStepper:
        """memory_bytes: of the pages; None: enough for the longest generation in every slot, if the GPU has as much.

        Raises: ValueError when that is less than one page.
        """
        num_pages = num_slots * pages_of(self._max_positions, 2, TYPICAL_TEXT_TOKENS)
        available = self._available_bytes() if memory_bytes is None else memory_bytes
        if available is not None:
            num_pages = min(num_pages, available // self.page_bytes - 1)  # the spare page is one more
        if num_pages < 1:
            raise ValueError(
                f"{available} bytes are left for keys and values, and a page of {PAGE} positions takes "
                f"{self.page_bytes}; give the model more memory"
            )
        pages = Pages(num_pages)
        state = State(self.config, num_slots, self._max_positions, num_pages, self._compute, self._device)
        program = Program(self.config, self._matrices, self._positions, self._operations, state, self.max_rows)
        return GpuStepper(self.config, self._matrices, program, state, pages, self.page_bytes, keep_logits=keep_logits)

    def close(self) -> None:
        """Ends no threads."""

    def _own_operations(self) -> Operations:
        if not self._device.startswith("cuda"):
            return ReferenceOperations(self._compute)
        # Triton comes with torch's builds for GPUs, and isn't there without.
        from deployments.language_model.gpu.triton_operations import TritonOperations

        return TritonOperations(
            self.config, self._compute, buckets(self.max_rows)[-1], self._max_positions, self._device
        )

    def _available_bytes(self) -> int | None:
        """What this process may still take of its GPU, less what the step itself needs; None on a CPU."""
        if not self._device.startswith("cuda"):
            return None
        free, total = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        allowed = int(torch.cuda.get_per_process_memory_fraction(self._device) * total)
        unused = reserved - torch.cuda.memory_allocated(self._device)
        return min(free, allowed - reserved) + unused - GRAPHS_BYTES

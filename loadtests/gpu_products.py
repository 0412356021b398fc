"""How fast each matrix product of a step reads its weights: as it is cut into programs, and as other cuts would be."""

from __future__ import annotations

import itertools
import sys

import torch

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu.matrix import Matrix, Norm
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.reference import ReferenceOperations
from deployments.language_model.gpu.matrix import Tile, tile_of
from loadtests.gpu_bench import INT8, Scale
from loadtests.measuring.hardware import now
from loadtests.measuring.shapes import SHAPES

ROWS = 2  # one request with guidance
COLD_BYTES = 2**28  # of weights between two reads of the same: more than any cache holds
REPLAYS = 5


def products(scale: Scale) -> list[dict[str, object]]:
    """Every product of every shape, with the time of its own tile and of the fastest one tried."""
    rows = []
    for name, dtype in itertools.product(scale.shapes, scale.dtypes):
        config = SHAPES[name].config
        # Each tile is compiled, which takes a second.
        compared = scale.device == "cuda" and name in (scale.shapes[0], scale.shapes[-1]) and dtype == scale.dtypes[0]
        for num_outputs, num_inputs, normed in _products_of(config):
            own = tile_of(num_outputs, num_inputs)
            tiles = [own, *(_other_tiles(num_outputs, num_inputs, own) if compared else [])]
            times = {tile: _time(config, num_outputs, num_inputs, normed, dtype, tile, scale) for tile in tiles}
            best = min(times, key=lambda tile: times[tile])
            kilobytes = num_outputs * num_inputs * (1 if dtype == INT8 else 2) / 1e3
            row: dict[str, object] = {
                "shape": name,
                "dtype": dtype,
                "outputs": num_outputs,
                "inputs": num_inputs,
                "us": round(times[own], 2),
                "gb_per_s": round(kilobytes / times[own], 1),
                "best_us": round(times[best], 2),
                "best_gb_per_s": round(kilobytes / times[best], 1),
                "best": f"{best.outputs}x{best.inputs} {best.warps} warps {best.stages} stages",
            }
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def _products_of(config: DecoderConfig) -> list[tuple[int, int, bool]]:
    """(outputs, inputs, after a norm) of each, once."""
    d, f = config.width, config.ffn_width
    return [
        (3 * d, d, True),
        (d, d, True),
        (d, d, False),
        (f, d, True),
        (d, f, False),
        (config.num_codebooks * config.vocab_size, d, True),
    ]


def _other_tiles(num_outputs: int, num_inputs: int, own: Tile) -> list[Tile]:
    sizes = itertools.product((16, 32), (128, 256, 512), ((4, 4), (8, 3)))
    tiles = [Tile(outputs, inputs, warps, stages) for outputs, inputs, (warps, stages) in sizes]
    return [tile for tile in tiles if tile != own and not num_outputs % tile.outputs and not num_inputs % tile.inputs]


def _time(
    config: DecoderConfig, num_outputs: int, num_inputs: int, normed: bool, dtype: str, tile: Tile, scale: Scale
) -> float:
    """Microseconds of one product among those of other matrices; infinite for a tile that the GPU has no room for."""
    device, on_gpu = scale.device, scale.device == "cuda"
    compute = torch.bfloat16 if on_gpu else torch.float32
    operations: Operations = ReferenceOperations(compute)
    if on_gpu:
        from deployments.language_model.gpu.triton_operations import TritonOperations

        operations = TritonOperations(config, compute, ROWS, 128, device, {(num_outputs, num_inputs): tile})
    count = max(2, COLD_BYTES // (num_outputs * num_inputs)) if on_gpu else 1
    weights = torch.randn(num_outputs, num_inputs, device=device).to(compute)
    matrices = [Matrix.of(weights.clone(), dtype) for _ in range(count)]
    x = torch.randn(ROWS, num_inputs, device=device)
    multiplied = x.to(compute)
    norm = Norm(torch.ones(num_inputs, device=device), torch.zeros(num_inputs, device=device))
    out = torch.zeros(ROWS, num_outputs, device=device)

    def run_all() -> None:
        for matrix in matrices:
            if normed:
                operations.normed_product(x, norm, matrix, out, None)
            else:
                operations.added_product(multiplied, matrix, out)

    if not on_gpu:
        started_s = now(device)
        run_all()
        return 1e6 * (now(device) - started_s)
    from triton.runtime.errors import OutOfResources  # type: ignore[import-not-found,import-untyped,unused-ignore]

    try:
        run_all()
    except OutOfResources:
        return float("inf")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run_all()
    graph.replay()
    started_s = now(device)
    for _ in range(REPLAYS):
        graph.replay()
    return 1e6 * (now(device) - started_s) / REPLAYS / count

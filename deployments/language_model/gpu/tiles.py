"""How a product is cut into programs: by its shape alone, so that a row's sums are the same in every step."""

from __future__ import annotations

from dataclasses import dataclass

ROWS = 16  # of one program: the least that a matrix unit takes


@dataclass(frozen=True)
class Tile:
    """outputs, inputs: of the weights that a program reads at a time. warps, stages: of its pipeline."""

    outputs: int
    inputs: int
    warps: int
    stages: int


def tile_of(num_outputs: int, num_inputs: int) -> Tile:
    """Programs enough for every multiprocessor of a large GPU, each with some tens of kilobytes under way.

    Raises: ValueError for a shape the kernels don't have.
    """
    if num_outputs % 16 or num_inputs % 16:
        raise ValueError(f"a product of {num_inputs} to {num_outputs} is not one of multiples of 16")
    outputs = 32 if num_outputs >= 8192 and num_outputs % 32 == 0 else 16
    return Tile(outputs, largest_power_of_two(num_inputs, 256), warps=4, stages=4)


def largest_power_of_two(number: int, most: int) -> int:
    """That divides the number, and is at most `most`."""
    return min(number & -number, most)

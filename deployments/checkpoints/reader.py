"""Tensors read when they are asked for: so a model can be loaded layer by layer, in little more than its own memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deployments.checkpoints.tensor_files import TensorFiles


@dataclass(frozen=True)
class TensorReader:
    """shapes: of every tensor there is, by name. tied: those that are stored as the first rows of another, by name."""

    files: TensorFiles
    shapes: Mapping[str, tuple[int, ...]]
    tied: Mapping[str, str] = field(default_factory=dict)

    def read(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """These tensors, cast as `TensorFiles.read` does it.

        What isn't cast may be a view of a mapped file, not to be written to; what has been read of the file counts as
        this process's memory until the last of its tensors is let go.
        """
        wanted = list(names)
        stored = self.files.read({self.tied.get(name, name) for name in wanted}, dtype)
        return {name: self._of(name, stored) for name in wanted}

    def _of(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        return stored[self.tied[name]][: self.shapes[name][0]] if name in self.tied else stored[name]

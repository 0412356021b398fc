"""Tensors read one by one: the same as all at once, and the shapes known before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint, check_shapes
from deployments.checkpoints.config import CheckpointError
from deployments.checkpoints.tensor_files import TensorFiles
from tests.deployments.checkpoints.rewritten import pickled, sharded, with_config, with_tensors

LAYOUTS = {"safetensors": lambda source, folder: source, "safetensors shards": sharded, "pickled": pickled}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_are_those_of_the_tensors(layout: str, tiny: Path, tmp_path: Path) -> None:
    files = TensorFiles.open(LAYOUTS[layout](tiny, tmp_path / "copy"))
    read = files.read(files.locations)
    assert files.shapes(files.locations) == {name: tuple(tensor.shape) for name, tensor in read.items()}


def test_one_by_one_they_are_what_they_are_together(tiny: Path) -> None:
    checkpoint = Checkpoint.open(tiny)
    reader, together = checkpoint.language_model_reader(), checkpoint.tensors("language_model", torch.bfloat16)
    assert reader.shapes == {name: tuple(tensor.shape) for name, tensor in together.items()}
    for name, tensor in together.items():
        assert torch.equal(reader.read([name], torch.bfloat16)[name], tensor)


def test_tied_heads_are_read_from_the_embeddings(tiny: Path, tmp_path: Path) -> None:
    with_tensors(tiny, tmp_path / "headless", lambda tensors: {n: t for n, t in tensors.items() if "lm_heads" not in n})
    folder = with_config(
        tmp_path / "headless", tmp_path / "tied", lambda config: config["decoder"].update(tie_word_embeddings=True)
    )
    reader = Checkpoint.open(folder).language_model_reader()
    head, table = "decoder.lm_heads.2.weight", "decoder.model.decoder.embed_tokens.2.weight"
    assert reader.shapes[head] == (64, 64)
    assert torch.equal(reader.read([head])[head], reader.read([table])[table][:64])


def test_a_shape_that_does_not_fit_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"of the wrong shape: a \[2\] instead of \[3\]$"):
        check_shapes({"a": (2,)}, {"a": (3,)}, "codec")

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import Tensor

from deployments.checkpoints.checkpoint import Checkpoint
from tests.deployments.checkpoints.rewritten import sharded, with_config, with_tensors

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fingerprint(folder: Path) -> str:
    return Checkpoint.open(folder).fingerprint()


def test_it_is_the_same_wherever_the_folder_lies(tiny: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(tiny, tmp_path / "elsewhere"))
    (elsewhere / "README.md").write_text("another card")
    assert fingerprint(elsewhere) == fingerprint(tiny)
    assert len(fingerprint(tiny)) == 64


def test_one_weight_changes_it(tiny: Path, tmp_path: Path) -> None:
    def nudge(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors["enc_to_dec_proj.bias"][0] += 1e-3
        return tensors

    unchanged = with_tensors(tiny, tmp_path / "same", lambda tensors: tensors)
    assert fingerprint(unchanged) == fingerprint(tiny)
    assert fingerprint(with_tensors(tiny, tmp_path / "nudged", nudge)) != fingerprint(tiny)


def test_one_weight_in_one_shard_changes_it(tiny: Path, tmp_path: Path) -> None:
    folder = sharded(tiny, tmp_path / "sharded")
    before = fingerprint(folder)
    shard = folder / "model-00002-of-00003.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert fingerprint(folder) != before


def test_the_configuration_and_the_tokenizer_count(tiny: Path, tmp_path: Path) -> None:
    other_config = with_config(tiny, tmp_path / "config", lambda c: c["decoder"].update(activation_function="relu"))
    other_tokenizer = Path(shutil.copytree(tiny, tmp_path / "tokenizer"))
    path = other_tokenizer / "tokenizer.json"
    path.write_text(path.read_text().replace("piano", "pians"))
    assert len({fingerprint(tiny), fingerprint(other_config), fingerprint(other_tokenizer)}) == 3


def test_a_snapshot_of_the_hub_is_its_commit(tiny: Path, tmp_path: Path) -> None:
    snapshots = tmp_path / "models--house--tiny" / "snapshots"
    assert fingerprint(Path(shutil.copytree(tiny, snapshots / COMMIT))) == COMMIT


@pytest.mark.parametrize("place", [f"snapshots/{COMMIT}", f"models--house--tiny/snapshots/{COMMIT[1:]}"])
def test_only_the_caches_layout_is_trusted(place: str, tiny: Path, tmp_path: Path) -> None:
    assert fingerprint(Path(shutil.copytree(tiny, tmp_path / place))) == fingerprint(tiny)

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deployments.checkpoints import tensor_files
from deployments.checkpoints.config import CheckpointError
from deployments.checkpoints.tensor_files import TensorFiles
from tests.deployments.checkpoints.rewritten import pickled, sharded

LAYOUTS: dict[str, Callable[[Path, Path], Path]] = {
    "safetensors": lambda source, folder: Path(shutil.copytree(source, folder)),
    "safetensors shards": sharded,
    "pickled": pickled,
    "pickled shards": lambda source, folder: sharded(source, folder, suffix="bin"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_tensors(layout: str, tiny: Path, tmp_path: Path) -> None:
    expected = load_file(tiny / "model.safetensors")
    files = TensorFiles.open(LAYOUTS[layout](tiny, tmp_path / "copy"))
    found = files.read(files.locations)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_only_the_files_of_the_wanted_tensors_are_read(tiny: Path, tmp_path: Path) -> None:
    folder = sharded(tiny, tmp_path / "sharded")
    files = TensorFiles.open(folder)
    name = "enc_to_dec_proj.bias"
    for shard in {*files.locations.values()} - {files.locations[name]}:
        shard.unlink()
    assert files.read([name]).keys() == {name}


def test_safetensors_come_before_pickles(tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "both"))
    (folder / "pytorch_model.bin").write_bytes(b"never looked at")
    assert [path.name for path in TensorFiles.open(folder).paths] == ["model.safetensors"]


def test_floats_are_cast_and_nothing_else(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2), "count": torch.ones(2, dtype=torch.int64)}, tmp_path / "pytorch_model.bin")
    files = TensorFiles.open(tmp_path)
    read = files.read(["weight", "count"], torch.bfloat16)
    assert (read["weight"].dtype, read["count"].dtype) == (torch.bfloat16, torch.int64)
    assert files.read(["weight"])["weight"].dtype == torch.float32


def test_a_pickle_from_before_zip_files_is_read(tmp_path: Path) -> None:
    tensors = {"weight": torch.arange(3.0)}
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(TensorFiles.open(tmp_path).read(["weight"])["weight"], tensors["weight"])


def test_no_weights_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no weights: neither model\.safetensors nor pytorch_model\.bin"):
        TensorFiles.open(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_a_file_cut_short_is_one_sentence(layout: str, share: float, tiny: Path, tmp_path: Path) -> None:
    folder = LAYOUTS[layout](tiny, tmp_path / "copy")
    path = max(folder.glob("*model*"), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=path.name) as caught:
        TensorFiles.open(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_missing_shard_is_named(suffix: str, tiny: Path, tmp_path: Path) -> None:
    folder = sharded(tiny, tmp_path / "sharded", suffix=suffix)
    (lost,) = folder.glob(f"*-00002-of-00003.{suffix}")
    lost.unlink()
    with pytest.raises(CheckpointError, match=f"names {lost.name}, which the folder lacks"):
        TensorFiles.open(folder)


def test_a_tensor_its_shard_lacks_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = sharded(tiny, tmp_path / "sharded")
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["decoder.lost.weight"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"puts decoder\.lost\.weight in shards that don't have them"):
        TensorFiles.open(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_a_broken_index_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json is not an index of shards"):
        TensorFiles.open(tmp_path)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "/etc/elsewhere.safetensors"])
def test_an_index_cannot_point_out_of_its_folder(shard: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(CheckpointError, match="outside of its own folder"):
        TensorFiles.open(tmp_path)


class RunsCode:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": RunsCode()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds code, which is never run") as caught:
        TensorFiles.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [[torch.ones(1)], {"best_state": {"weight": torch.ones(1)}}, {"version": "1.3"}])
def test_a_pickle_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="something other than named tensors"):
        TensorFiles.open(tmp_path)


def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tensor_files, "safe_open", refuse)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"model\.safetensors can't be read: .*Permission denied"):
        TensorFiles.open(tmp_path)

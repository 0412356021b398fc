from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.utils._http
import pytest

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.checkpoints.sources import find_checkpoint
from tests.deployments.checkpoints.hub import COMMIT, REPO, Hub, serving
from tests.deployments.checkpoints.rewritten import pickled, sharded

PROJECT = Path(__file__).resolve().parents[3]
NEEDED = {"config.json", "generation_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no hub (nothing listens on port 9). The client doesn't wait between its tries."""
    point_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for module in (huggingface_hub.utils._http, huggingface_hub.file_download):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda duration_s: None))
    return tmp_path / "cache"


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does when the hub's client is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def find_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    with serving(hub), monkeypatch.context() as patched:
        point_at(hub.url, patched)
        return find_checkpoint(REPO, COMMIT, root=PROJECT)


@pytest.mark.parametrize(
    "source", ["models/tiny", "./models/tiny", "../{root}/models/tiny", "{absolute}", "~/models/tiny"]
)
def test_a_folder_is_found_from_the_root_from_home_and_absolutely(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    source = source.format(root=tmp_path.name, absolute=folder)
    assert find_checkpoint(source, None, root=tmp_path) == folder


@pytest.mark.parametrize("source", ["./house/tiny", "../house/tiny", "~/house/tiny", "/house/tiny", "."])
def test_a_folder_that_is_not_there_is_never_looked_for_on_the_hub(source: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no folder|is neither a folder"):
        find_checkpoint(source, None, root=tmp_path / "absent")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    with pytest.raises(CheckpointError, match="there is no folder"):
        find_checkpoint("model", None, root=tmp_path)


def test_a_home_nobody_has_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="home of a user this machine doesn't have"):
        find_checkpoint("~nobody-of-that-name/model", None, root=tmp_path)


def test_a_folder_takes_no_revision(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(CheckpointError, match="model is a folder, and a folder has no revision"):
        find_checkpoint("model", COMMIT, root=tmp_path)


@pytest.mark.parametrize("source", ["", "checkpoint", "a/b/c", "owner/", "owner/na me", "owner\\name"])
def test_what_is_neither_a_folder_nor_an_id_is_said_to_be_so(source: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is neither a folder in .* nor the id of a model on the hub"):
        find_checkpoint(source, COMMIT, root=tmp_path)


@pytest.mark.parametrize("revision", [None, "", "main", COMMIT[:7], COMMIT.upper(), COMMIT + "0", COMMIT + "\n"])
def test_an_id_needs_a_pinned_revision(revision: str | None, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(CheckpointError, match="house/tiny needs a revision that pins it: the 40 hexadecimal digits"):
        find_checkpoint(REPO, revision, root=tmp_path)


def test_a_download_works_again_with_the_hub_gone(tiny: Path, tmp_path: Path) -> None:
    """In processes of their own, with nothing but the environment to point them at the hub and the cache."""
    script = (
        "import sys; from pathlib import Path; from deployments.checkpoints.sources import find_checkpoint; "
        "print(find_checkpoint(sys.argv[1], sys.argv[2], root=Path.cwd()))"
    )

    def find(url: str) -> Path:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-c", script, REPO, COMMIT]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    with serving(Hub(tiny)) as hub:
        first = find(hub.url)
    num_requests = len(hub.requests)
    assert first.is_relative_to(tmp_path / "home" / "hub")
    assert hub.downloads == NEEDED | {"model.safetensors"}
    assert find(hub.url) == first
    with serving(hub):
        assert find(hub.url) == first
    assert len(hub.requests) == num_requests
    checkpoint = Checkpoint.open(first)
    assert checkpoint.fingerprint() == COMMIT
    assert checkpoint.tensors("codec").keys() == Checkpoint.open(tiny).tensors("codec").keys()


def test_only_the_better_kind_of_weights_is_downloaded(
    tiny: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sharded(tiny, tmp_path / "repo")
    for name in ("pytorch_model.bin", "state_dict.bin", "compression_state_dict.bin", "model.fp32.safetensors"):
        (folder / name).write_bytes(b"not wanted")
    hub = Hub(folder)
    found = find_on(hub, monkeypatch)
    shards = {f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)}
    assert hub.downloads == NEEDED | shards | {"model.safetensors.index.json"}
    assert {path.name for path in found.iterdir()} == hub.downloads
    Checkpoint.open(found)


@pytest.mark.parametrize("in_shards", [False, True])
def test_pickles_are_downloaded_where_there_are_no_safetensors(
    in_shards: bool, tiny: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sharded(tiny, tmp_path / "repo", suffix="bin") if in_shards else pickled(tiny, tmp_path / "repo")
    hub = Hub(folder)
    found = find_on(hub, monkeypatch)
    Checkpoint.open(found)
    num_requests = len(hub.requests)
    assert find_on(hub, monkeypatch) == found
    assert len(hub.requests) == num_requests


def test_a_download_that_broke_off_is_finished(tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tiny)
    found = find_on(hub, monkeypatch)
    (found / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is not in the cache"):
        find_checkpoint(REPO, COMMIT, root=PROJECT)
    hub.requests.clear()
    assert find_on(hub, monkeypatch) == found
    Checkpoint.open(found)
    assert "config.json" not in hub.downloads


def test_a_snapshot_of_an_older_client_is_judged_by_its_files(
    tiny: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(sharded(tiny, tmp_path / "repo"))
    found = find_on(hub, monkeypatch)
    for listing in (found.parents[1] / "trees").iterdir():
        listing.unlink()
    assert find_checkpoint(REPO, COMMIT, root=PROJECT) == found
    (found / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="can't be reached"):
        find_checkpoint(REPO, COMMIT, root=PROJECT)


def test_no_network_is_one_sentence(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(REPO, COMMIT, root=PROJECT)
    assert str(caught.value) == (
        f"house/tiny at revision {COMMIT} is not in the cache {cache}, and http://127.0.0.1:9 can't be reached"
    )


def test_offline_mode_is_named_as_the_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="and HF_HUB_OFFLINE forbids a download"):
        find_checkpoint(REPO, COMMIT, root=PROJECT)


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "GatedRepo", "is gated: accept its terms on"),
        (404, "RepoNotFound", "there is no house/tiny on"),
        (401, "", "can't be downloaded: .*401"),
        (404, "RevisionNotFound", f"house/tiny has no revision {COMMIT} on"),
        (500, "", "can't be reached"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    status: int, code: str, sentence: str, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=sentence) as caught:
        find_on(Hub(tiny, refusal=(status, code)), monkeypatch)
    assert "\n" not in str(caught.value)


def test_a_repository_without_weights_is_one_sentence(
    tiny: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pickled(tiny, tmp_path / "repo")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights: neither model\.safetensors nor pytorch_model\.bin"):
        find_on(Hub(folder), monkeypatch)


def test_a_connection_that_breaks_off_is_one_sentence(tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="can't be downloaded") as caught:
        find_on(Hub(tiny, truncate="model.safetensors"), monkeypatch)
    assert "\n" not in str(caught.value)
    Checkpoint.open(find_on(Hub(tiny), monkeypatch))

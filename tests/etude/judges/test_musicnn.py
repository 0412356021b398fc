"""The network's shape and its spectra; its weights are in a wheel that the tests have no need of."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from etude.codec.measures.hearing import hear
from etude.judges import musicnn
from etude.judges.musicnn import EMBEDDING_WIDTH, TAGS, Musicnn, TagJudge, log_mel, main

RATE = 32000


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> TagJudge:
    """Of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = Musicnn().state_dict()
    path = tmp_path_factory.mktemp("musicnn") / "weights.safetensors"
    save_file(weights, path)
    return TagJudge(path)


def tone(frequency_hz: float, seconds: float) -> np.ndarray:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def test_there_are_fifty_tags_all_different() -> None:
    assert len(TAGS) == len(set(TAGS)) == 50


def test_every_three_seconds_get_tags_and_an_embedding(judge: TagJudge) -> None:
    tags, embeddings = judge.listen(tone(440, 7.0), RATE)
    assert tags.shape == (2, 50)
    assert embeddings.shape == (2, EMBEDDING_WIDTH)
    assert ((tags > 0) & (tags < 1)).all()


def test_less_than_three_seconds_are_refused(judge: TagJudge) -> None:
    with pytest.raises(ValueError, match="too short"):
        judge.listen(tone(440, 2.0), RATE)


def test_a_tone_is_in_its_band_whatever_the_sample_rate() -> None:
    bands = [int(log_mel(tone(frequency_hz, 1.0), RATE).mean(0).argmax()) for frequency_hz in (200, 400, 1000, 4000)]
    assert bands == sorted(set(bands))
    resampled = log_mel(tone(1000, 1.0)[::2].copy(), RATE // 2)
    torch.testing.assert_close(resampled[5:-5], log_mel(tone(1000, 1.0), RATE)[5:-5], atol=0.05, rtol=0)


def test_weights_go_where_the_wheel_s_layers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up checkpoint of the wheel's shapes, each tensor of one number."""
    shapes = {"dense/kernel": (1506, 200), "dense/bias": (200,), "dense_1/kernel": (200, 50), "dense_1/bias": (50,)}
    kernels = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51)]
    kernels += [(7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]
    widths = [1, *(kernel[-1] for kernel in kernels), 1506, 200]
    for place, kernel in enumerate(kernels):
        suffix = f"_{place}" if place else ""
        shapes |= {f"conv2d{suffix}/kernel": kernel, f"conv2d{suffix}/bias": kernel[-1:]}
    for place, width in enumerate(widths):
        suffix = f"_{place}" if place else ""
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"batch_normalization{suffix}/{name}"] = (width,)
    tensors = {name: np.full(shape, place, np.float32) for place, (name, shape) in enumerate(shapes.items())}
    monkeypatch.setattr(musicnn, "read_bundle", lambda index, data: tensors)
    wheel = tmp_path / "musicnn.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for end in (".index", ".data-00000-of-00001"):
            archive.writestr(f"musicnn/MTT_musicnn/{end}", b"")
    main([str(wheel), str(tmp_path / "weights.safetensors")])
    network = TagJudge(tmp_path / "weights.safetensors")._network
    assert float(network.tags.bias.detach()[0]) == list(shapes).index("dense_1/bias")
    assert float(network.penultimate.running_var[0]) == list(shapes).index("batch_normalization_10/moving_variance")


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"no archive")
    with pytest.raises(SystemExit):
        main([str(wrong), str(tmp_path / "weights")])
    assert "wrong.whl" in capsys.readouterr().err


def test_what_is_restored_whole_is_no_way_off_and_noise_is_far(judge: TagJudge) -> None:
    pieces = [torch.from_numpy(tone(frequency_hz, 6.5)) for frequency_hz in (220, 330, 440, 880)]
    noise = [0.3 * torch.randn(len(piece), generator=torch.Generator().manual_seed(0)) for piece in pieces]
    same, other = hear(judge, pieces, pieces, RATE), hear(judge, pieces, noise, RATE)
    assert same.distance == pytest.approx(0, abs=1e-3)
    assert same.same_tag == 1
    assert other.distance > 10 * same.distance
    assert same.between_pieces == other.between_pieces > 0

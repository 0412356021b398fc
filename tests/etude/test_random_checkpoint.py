from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, GenerationConfig, MusicgenForConditionalGeneration

from deployments.checkpoints.checkpoint import Checkpoint
from etude import random_checkpoint
from etude.random_checkpoint import Shape, main, make_checkpoint
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("embedded") / "checkpoint")


@pytest.fixture(scope="module")
def model(folder: Path) -> MusicgenForConditionalGeneration:
    return MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = contents(tiny_checkpoint(tmp_path / "first", vocab=64))
    torch.manual_seed(2)
    assert contents(tiny_checkpoint(tmp_path / "second", vocab=64)) == first
    other = contents(tiny_checkpoint(tmp_path / "other", vocab=64, seed=1))
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors", "README.md"}


def test_the_embedded_model_has_musicgens_geometry_and_is_small(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    codec, decoder = checkpoint.codec_config, checkpoint.decoder_config
    assert (codec.sampling_rate, codec.hop_length, codec.frame_rate) == (32000, 640, 50)
    assert (codec.num_quantizers, codec.codebook_size, codec.codebook_dim) == (4, 2048, 128)
    assert (codec.num_lstm_layers, codec.use_causal_conv, codec.use_conv_shortcut) == (2, False, False)
    assert (codec.normalize, codec.norm_type, codec.target_bandwidths) == (False, "weight_norm", [2.2])
    assert (decoder.num_codebooks, decoder.vocab_size, decoder.hidden_size) == (4, 2048, 256)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 40e6
    assert checkpoint.tensors("language_model")["enc_to_dec_proj.weight"].shape == (256, 192)


def test_transformers_loads_every_tensor_and_no_other(folder: Path) -> None:
    _, report = MusicgenForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())


def test_transformers_generates_sound_with_it_as_it_is_stored(folder: Path) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(folder)
    inputs = AutoProcessor.from_pretrained(folder)(text=["warm piano"], return_tensors="pt")
    torch.manual_seed(0)
    sound = model.generate(**inputs, max_new_tokens=13)
    assert sound.shape == (1, 1, 10 * 640)
    assert 0.05 < sound.float().std() < 0.2


def test_generation_is_configured_as_musicgens(folder: Path) -> None:
    config = GenerationConfig.from_pretrained(folder)
    assert (config.do_sample, config.guidance_scale, config.max_length) == (True, 3.0, 1500)
    assert config.pad_token_id == config.bos_token_id == config.decoder_start_token_id == 2048


@torch.inference_mode()
def test_random_codes_decode_to_audible_sound_that_does_not_clip(model: MusicgenForConditionalGeneration) -> None:
    codes = torch.randint(2048, (1, 1, 4, 200), generator=torch.Generator().manual_seed(0))
    (sound,) = model.audio_encoder.decode(codes, [None])[0]
    assert 0.05 < sound.std() < 0.2
    assert sound.abs().max() < 1


@torch.inference_mode()
def test_every_codebook_is_heard(model: MusicgenForConditionalGeneration) -> None:
    codes = torch.zeros(1, 1, 4, 20, dtype=torch.int64)
    before = model.audio_encoder.decode(codes, [None])[0]
    for k in range(4):
        changed = codes.clone()
        changed[0, 0, k, 10] = 1
        assert (model.audio_encoder.decode(changed, [None])[0] - before).abs().max() > 0.01


@torch.inference_mode()
def test_logits_are_neither_flat_nor_certain_and_depend_on_the_text(
    folder: Path, model: MusicgenForConditionalGeneration
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    codes = torch.randint(2048, (4, 50), generator=torch.Generator().manual_seed(0))

    def logits(prompt: str) -> torch.Tensor:
        found: torch.Tensor = model(**tokenizer(prompt, return_tensors="pt"), decoder_input_ids=codes).logits
        return found

    found, other = logits("a calm piano"), logits("an angry guitar")
    likeliest = found.softmax(-1).max(-1).values.mean()
    assert 0.05 < likeliest < 0.6
    best, second = found.topk(2).values.unbind(-1)
    assert (best - second).mean() > 0.3
    assert (found - other).std() > 0.1 * found.std()


@pytest.mark.parametrize("codebooks", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("vocab", [16, 64, 1024, 2048])
def test_the_bandwidth_buys_exactly_the_codebooks(codebooks: int, vocab: int) -> None:
    assert Shape(codebooks=codebooks, vocab=vocab).config(100).audio_encoder.num_quantizers == codebooks
    stereo = Shape(codebooks=2 * codebooks, channels=2, vocab=vocab).config(100)
    assert stereo.audio_encoder.num_quantizers == codebooks


@pytest.mark.parametrize("ratios", [(8, 5, 4, 4), (4, 4, 2, 2), (5, 2)])
def test_other_ratios_keep_the_frame_rate_and_the_level(ratios: tuple[int, ...], tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "checkpoint", ratios=ratios, vocab=64, codebooks=2)
    codec = MusicgenForConditionalGeneration.from_pretrained(folder).audio_encoder
    hop = math.prod(ratios)
    assert (codec.config.sampling_rate, codec.config.frame_rate) == (50 * hop, 50)
    codes = torch.randint(64, (1, 1, 2, 100), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        sound = codec.decode(codes, [None])[0]
    assert sound.shape == (1, 1, 100 * hop)
    assert 0.02 < sound.std() < 0.4


def test_the_card_says_that_it_is_noise(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "license: cc0-1.0" in card
    assert "untrained: whatever the prompt, it makes noise" in card


def test_others_may_read_the_files(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


class Killed(BaseException):
    pass


def test_a_run_that_ends_early_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path) -> None:
        assert (folder / "model.safetensors").is_file()
        assert not (tmp_path / "checkpoint").exists()
        raise Killed

    monkeypatch.setattr(random_checkpoint, "open_to_readers", stop)
    with pytest.raises(Killed):
        tiny_checkpoint(tmp_path / "checkpoint", vocab=64)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="is not empty"):
        tiny_checkpoint(tmp_path, vocab=64)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    Checkpoint.open(tiny_checkpoint(tmp_path / "checkpoint", vocab=64))


def test_the_command_takes_a_folder_and_a_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {}
    monkeypatch.setattr(random_checkpoint, "make_checkpoint", lambda folder, seed: made.update({folder: seed}))
    main([str(tmp_path / "a")])
    main([str(tmp_path / "b"), "--seed", "7"])
    assert made == {tmp_path / "a": 0, tmp_path / "b": 7}


def test_the_command_refuses_a_full_folder_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path)])
    assert caught.value.code == 2
    assert f"error: {tmp_path} is not empty" in capsys.readouterr().err

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MusicgenForConditionalGeneration

from deployments.checkpoints.checkpoint import Checkpoint, check_tensors
from deployments.checkpoints.config import CheckpointError
from deployments.checkpoints.tensor_files import NOT_NEEDED, PARTS
from tests.deployments.checkpoints.rewritten import as_transformers_4_wrote_it, with_config, with_tensors
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def reference(tiny: Path) -> MusicgenForConditionalGeneration:
    return MusicgenForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32).eval()


def parts_of(folder: Path) -> dict[str, dict[str, Tensor]]:
    checkpoint = Checkpoint.open(folder)
    return {part: checkpoint.tensors(part) for part in PARTS}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.detach(), rtol=0, atol=0, msg=name)


def test_text_encoder_is_what_transformers_loads(tiny: Path, reference: MusicgenForConditionalGeneration) -> None:
    expected = reference.text_encoder.state_dict()
    del expected["encoder.embed_tokens.weight"]
    assert_same(Checkpoint.open(tiny).tensors("text_encoder"), expected)


def test_language_model_is_what_transformers_loads(tiny: Path, reference: MusicgenForConditionalGeneration) -> None:
    expected = {
        name: tensor
        for name, tensor in reference.state_dict().items()
        if name.startswith(("decoder.", "enc_to_dec_proj."))
    }
    assert_same(Checkpoint.open(tiny).tensors("language_model"), expected)


def test_codec_is_what_transformers_decodes_with(tiny: Path, reference: MusicgenForConditionalGeneration) -> None:
    codec = reference.audio_encoder
    expected = {
        f"decoder.{name}": tensor
        for name, tensor in codec.decoder.state_dict().items()
        if "parametrizations" not in name
    }
    for name, module in codec.decoder.named_modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            expected[f"decoder.{name}.weight"] = module.weight
    for i, layer in enumerate(codec.quantizer.layers):
        expected[f"quantizer.layers.{i}.codebook.embed"] = layer.codebook.embed
    found = Checkpoint.open(tiny).tensors("codec")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.detach(), msg=name)


def test_every_tensor_is_handed_out_once_or_not_needed(tiny: Path) -> None:
    checkpoint = Checkpoint.open(tiny)
    prefixes = {"text_encoder": "text_encoder.", "language_model": "", "codec": "audio_encoder."}
    handed_out = [prefixes[part] + name for part in PARTS for name in checkpoint.tensors(part)]
    plain = {
        name.replace("parametrizations.weight.original1", "weight")
        for name in checkpoint.files.locations
        if not name.startswith("audio_encoder.encoder.")
        and not name.endswith((".embed_avg", ".cluster_size", ".inited", ".original0"))
    }
    assert sorted(handed_out) == sorted(plain)


def test_every_reason_not_to_need_a_tensor_is_given() -> None:
    assert all(NOT_NEEDED.values())


def test_the_older_way_of_writing_gives_the_same_tensors(tiny: Path, tmp_path: Path) -> None:
    old = parts_of(with_tensors(tiny, tmp_path / "old", as_transformers_4_wrote_it))
    for part, tensors in parts_of(tiny).items():
        assert_same(old[part], tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_weights_come_as_stored_or_as_asked(dtype: torch.dtype, tiny: Path, tmp_path: Path) -> None:
    folder = with_tensors(tiny, tmp_path / "half", lambda tensors: {n: t.to(dtype) for n, t in tensors.items()})
    checkpoint, full = Checkpoint.open(folder), Checkpoint.open(tiny)
    for part in PARTS:
        assert {tensor.dtype for tensor in checkpoint.tensors(part).values()} == {dtype}
        widened, exact = checkpoint.tensors(part, torch.float32), full.tensors(part)
        assert widened.keys() == exact.keys()
        for name, tensor in widened.items():
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor, exact[name], rtol=3e-2, atol=3e-2, msg=name)


def test_codec_of_sixteen_bits_is_fused_after_it_is_widened(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "half", vocab=64, codec_width=8, dtype=torch.bfloat16)
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    found = Checkpoint.open(folder).tensors("codec", torch.float32)
    expected = model.audio_encoder.decoder.layers[0].conv.weight.detach()
    torch.testing.assert_close(found["decoder.layers.0.conv.weight"], expected)


T5_TABLE = "text_encoder.shared.weight"
T5_OTHER_NAME = "text_encoder.encoder.embed_tokens.weight"


@pytest.mark.parametrize(
    ("change", "embedding_differs_by"),
    [
        (lambda tensors: tensors, 0),
        (lambda tensors: {**tensors, T5_OTHER_NAME: tensors[T5_TABLE].clone()}, 0),
        (lambda tensors: {**tensors, T5_OTHER_NAME: tensors[T5_TABLE] + 1}, 1),
        (lambda tensors: {T5_OTHER_NAME: tensors.pop(T5_TABLE), **tensors}, 0),
    ],
    ids=["shared", "both", "both and different", "embed_tokens"],
)
def test_t5_reads_the_embedding_transformers_reads(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], embedding_differs_by: int, tiny: Path, tmp_path: Path
) -> None:
    folder = with_tensors(tiny, tmp_path / "copy", change)
    found = Checkpoint.open(folder).tensors("text_encoder")
    model = MusicgenForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(found["shared.weight"], model.text_encoder.encoder.embed_tokens.weight)
    original = Checkpoint.open(tiny).tensors("text_encoder")
    assert torch.equal(found["shared.weight"], original["shared.weight"] + embedding_differs_by)
    assert found.keys() == original.keys()


def without_heads(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if "lm_heads" not in name}


def tie_decoder(tiny: Path, folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    with_tensors(tiny, folder / "untied", change)
    return with_config(folder / "untied", folder / "tied", lambda c: c["decoder"].update(tie_word_embeddings=True))


def test_heads_left_out_as_tied_are_the_embeddings_real_rows(tiny: Path, tmp_path: Path) -> None:
    tensors = Checkpoint.open(tie_decoder(tiny, tmp_path, without_heads)).tensors("language_model")
    for k in range(4):
        embedding = tensors[f"decoder.model.decoder.embed_tokens.{k}.weight"]
        assert embedding.shape == (65, 64)
        assert torch.equal(tensors[f"decoder.lm_heads.{k}.weight"], embedding[:64])


def test_heads_that_are_stored_win_over_tying_as_in_transformers(tiny: Path, tmp_path: Path) -> None:
    folder = tie_decoder(tiny, tmp_path, lambda tensors: tensors)
    found = Checkpoint.open(folder).tensors("language_model")
    model = MusicgenForConditionalGeneration.from_pretrained(folder)
    for k, head in enumerate(model.decoder.lm_heads):
        assert torch.equal(found[f"decoder.lm_heads.{k}.weight"], head.weight)
        assert not torch.equal(head.weight, model.decoder.model.decoder.embed_tokens[k].weight[:64])


def test_heads_left_out_and_not_tied_stay_missing(tiny: Path, tmp_path: Path) -> None:
    tensors = Checkpoint.open(with_tensors(tiny, tmp_path / "headless", without_heads)).tensors("language_model")
    assert not [name for name in tensors if "lm_heads" in name]


def test_text_of_the_decoders_width_has_no_projection(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "checkpoint", vocab=64, codec_width=8, text_width=64)
    tensors = Checkpoint.open(folder).tensors("language_model")
    assert not [name for name in tensors if name.startswith("enc_to_dec_proj")]


def test_stereo_has_twice_the_codebooks_in_the_decoder_alone(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "checkpoint", vocab=64, codec_width=8, codebooks=8, channels=2)
    checkpoint = Checkpoint.open(folder)
    assert (checkpoint.decoder_config.num_codebooks, checkpoint.decoder_config.audio_channels) == (8, 2)
    assert checkpoint.codec_config.num_quantizers == 4
    assert len([name for name in checkpoint.tensors("language_model") if "lm_heads" in name]) == 8
    assert len([name for name in checkpoint.tensors("codec") if "codebook" in name]) == 4


def test_unknown_tensors_are_named_up_to_five(tiny: Path, tmp_path: Path) -> None:
    extra = {f"adapter.{i}": torch.zeros(1) for i in range(7)}
    folder = with_tensors(tiny, tmp_path / "extra", lambda tensors: tensors | extra)
    with pytest.raises(CheckpointError, match=r"no tensors named adapter\.0, .*adapter\.4 and 2 more$"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("prefix", "part"), [("text_encoder", "text encoder"), ("decoder", "language model"), ("audio_encoder", "codec")]
)
def test_a_missing_part_is_named(prefix: str, part: str, tiny: Path, tmp_path: Path) -> None:
    def drop(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {n: t for n, t in tensors.items() if not n.startswith((prefix, "enc_to_dec_proj"))}

    with pytest.raises(CheckpointError, match=f"the tensors of the {part} are missing"):
        Checkpoint.open(with_tensors(tiny, tmp_path / "partial", drop))


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no folder .*absent"):
        Checkpoint.open(tmp_path / "absent")


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is empty"):
        Checkpoint.open(tmp_path)


def test_a_folder_of_something_else_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=r"has no config\.json: it is not a checkpoint in transformers' format"):
        Checkpoint.open(tmp_path)


def test_check_passes_what_fits() -> None:
    check_tensors({"a": torch.zeros(2, 3)}, {"a": (2, 3)}, "codec")


def test_check_names_everything_that_does_not_fit() -> None:
    found = {"a": torch.zeros(2, 3), "b": torch.zeros(1), "c": torch.zeros(4)}
    expected = {"a": (2, 3), "c": (5,), **{f"d{i}": (1,) for i in range(6)}}
    with pytest.raises(CheckpointError) as caught:
        check_tensors(found, expected, "language_model")
    assert str(caught.value) == (
        "the language model's tensors don't fit its config.json; missing: d0, d1, d2, d3, d4 and 1 more; "
        "unexpected: b; of the wrong shape: c [4] instead of [5]"
    )

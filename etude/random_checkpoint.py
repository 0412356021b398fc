"""A small MusicGen of random weights in transformers' format, for tests and benchmarks.

    python -m etude.random_checkpoint FOLDER [--seed 0]

It makes noise. Everything else about it is a MusicGen's: EnCodec at 32 kHz with 50 frames a second and 4 codebooks of
2048, a T5 encoder with a tokenizer of its own, a decoder, and the files `MusicgenForConditionalGeneration`,
`AutoTokenizer` and `AutoProcessor` load. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    EncodecConfig,
    EncodecFeatureExtractor,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenProcessor,
    T5Config,
)
from transformers.utils import logging as transformers_logging

from etude.draws import draw_weights
from etude.vocabulary import EOS_ID, PAD_ID, tokenizer

FRAME_RATE = 50

MODEL_CARD = """\
---
license: cc0-1.0
library_name: transformers
pipeline_tag: text-to-audio
tags: [musicgen]
---
# A MusicGen of random weights

This model is untrained: whatever the prompt, it makes noise. It has the parts, the shapes and the files of a MusicGen
in transformers' format, so that software for MusicGen can be run and tested without a download. It was made by
`python -m etude.random_checkpoint --seed {seed}` of musicgen-serve, and no data went into it. CC0 1.0: no rights
reserved.
"""


@dataclass(frozen=True)
class Shape:
    """The sizes of a MusicGen. Its frame rate is always 50, so its sample rate is 50 times the product of the ratios.

    codebooks: K, over all channels. channels: of the sound; the codec is mono and runs once for each.
    vocab: tokens in a codebook, a power of two. dtype: of the stored weights.

    The default is the embedded model. Its text width differs from the decoder's, as in the published models, since
    transformers leaves `enc_to_dec_proj` out where they are equal. 16 bits halve the file, and bfloat16 is the 16-bit
    type in which transformers runs on a CPU, which it does unless told otherwise when it loads such a file.
    """

    layers: int = 6
    width: int = 256
    heads: int = 4
    ffn: int = 1024
    codebooks: int = 4
    channels: int = 1
    vocab: int = 2048
    text_layers: int = 4
    text_width: int = 192
    text_heads: int = 4
    text_head_width: int = 64
    text_ffn: int = 768
    filters: int = 16
    ratios: tuple[int, ...] = (8, 5, 4, 4)
    codec_width: int = 128
    dtype: torch.dtype = torch.bfloat16

    def config(self, text_vocab: int) -> MusicgenConfig:
        """transformers' configuration of this shape, for a tokenizer of `text_vocab` pieces."""
        hop = 1
        for ratio in self.ratios:
            hop *= ratio
        bits_per_frame = self.codebooks // self.channels * (self.vocab.bit_length() - 1)
        text_encoder = T5Config(
            vocab_size=-(-text_vocab // 64) * 64,
            d_model=self.text_width,
            d_kv=self.text_head_width,
            d_ff=self.text_ffn,
            num_layers=self.text_layers,
            num_heads=self.text_heads,
            pad_token_id=PAD_ID,
            eos_token_id=EOS_ID,
            is_encoder_decoder=False,
            use_cache=False,
        )
        audio_encoder = EncodecConfig(
            sampling_rate=FRAME_RATE * hop,
            upsampling_ratios=list(self.ratios),
            num_filters=self.filters,
            hidden_size=self.codec_width,
            codebook_size=self.vocab,
            target_bandwidths=[FRAME_RATE * bits_per_frame / 1000],
            use_causal_conv=False,
            use_conv_shortcut=False,
        )
        decoder = MusicgenDecoderConfig(
            vocab_size=self.vocab,
            num_hidden_layers=self.layers,
            ffn_dim=self.ffn,
            num_attention_heads=self.heads,
            hidden_size=self.width,
            num_codebooks=self.codebooks,
            audio_channels=self.channels,
            pad_token_id=self.vocab,
            bos_token_id=self.vocab,
        )
        return MusicgenConfig(
            text_encoder=text_encoder.to_dict(), audio_encoder=audio_encoder.to_dict(), decoder=decoder.to_dict()
        )


def make_checkpoint(folder: Path, *, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Writes the checkpoint of a shape and a seed to a folder that doesn't exist yet, or is empty; returns it.

    Raises FileExistsError for a folder that is not empty.
    """
    return make_whole(folder, lambda unfinished: _write(unfinished, shape, seed))


def make_whole(folder: Path, write: Callable[[Path], None]) -> Path:
    """Makes a folder of what `write` puts into the one it is given; returns it.

    The folder appears all at once: a run that is killed leaves nothing there. Raises FileExistsError for a folder that
    is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(unfinished)
        open_to_readers(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return folder


def open_to_readers(folder: Path) -> None:
    """Temporary folders and safetensors files are their owner's alone, and whoever serves a model may be another."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def _write(folder: Path, shape: Shape, seed: int) -> None:
    config = shape.config(len(tokenizer()))
    with torch.device("meta"):
        model = MusicgenForConditionalGeneration(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = draw_weights(shapes, config, seed)
    model.load_state_dict({name: tensor.to(shape.dtype) for name, tensor in weights.items()}, assign=True)
    model.tie_weights()
    write_checkpoint(folder, model, MODEL_CARD.format(seed=seed))


def write_checkpoint(folder: Path, model: MusicgenForConditionalGeneration, card: str) -> None:
    """All the files of a MusicGen of the embedded tokenizer, into a folder that is there. card: README.md."""
    pad_token = model.config.decoder.pad_token_id
    model.generation_config = GenerationConfig(
        do_sample=True,
        guidance_scale=3.0,
        max_length=1500,
        pad_token_id=pad_token,
        bos_token_id=pad_token,
        decoder_start_token_id=pad_token,
    )
    model.save_pretrained(folder)
    feature_extractor = EncodecFeatureExtractor(
        feature_size=1, sampling_rate=model.config.audio_encoder.sampling_rate, padding_side="left"
    )
    MusicgenProcessor(feature_extractor, tokenizer()).save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.random_checkpoint", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write it; must not exist yet")
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other noise")
    options = parser.parse_args(arguments)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # it has much to say of the pad token's place
    try:
        make_checkpoint(options.folder, seed=options.seed)
    except OSError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Where a model that is trained came from, and how it is written: its files beside the weights stay what they were."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import MusicgenConfig, MusicgenForConditionalGeneration

from deployments.checkpoints.sources import TOKENIZER_FILES
from etude.random_checkpoint import open_to_readers

# What goes with the weights as it is.
_KEPT_FILES = (*TOKENIZER_FILES, "preprocessor_config.json", "processor_config.json")

# What a trainee has for its training alone.
_AIDS = "score_head."

# T5's table of embeddings has two names.
_TABLE, _SHARED = "text_encoder.encoder.embed_tokens.weight", "text_encoder.shared.weight"

CARD = """\
---
base_model: {source}
library_name: transformers
pipeline_tag: text-to-audio
tags: [musicgen]
---
# {source}, trained on

Trained by `python -m etude.train_lm` of musicgen-serve; what it was told is in `recipe.json` beside this folder. Its
licence is subject to that of {source} and to that of what it was trained on.
"""


@dataclass(frozen=True)
class Origin:
    """folder: the checkpoint that training began with. source: what it is called. dtype: of the weights as written."""

    folder: Path
    source: str
    dtype: torch.dtype

    def load(self, *, dropout: float) -> MusicgenForConditionalGeneration:
        """The model in float32, to be trained with so much dropout."""
        config = MusicgenConfig.from_pretrained(self.folder)
        config.decoder.dropout = config.text_encoder.dropout_rate = dropout
        config.decoder.attention_dropout = config.decoder.activation_dropout = config.decoder.layerdrop = 0.0
        return MusicgenForConditionalGeneration.from_pretrained(self.folder, config=config, dtype=torch.float32)

    def write(self, folder: Path, model: MusicgenForConditionalGeneration, trained: Mapping[str, Tensor]) -> None:
        """The whole checkpoint, into a folder that is there.

        model: as `load` gave it, for its codec and its settings. trained: everything else, as a `Trainee` names it.
        """
        for path in (self.folder / name for name in _KEPT_FILES):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        weights = {_name_in_musicgen(name): tensor for name, tensor in trained.items() if not name.startswith(_AIDS)}
        weights[_SHARED] = weights[_TABLE]
        weights |= {f"audio_encoder.{name}": tensor for name, tensor in model.audio_encoder.state_dict().items()}
        with torch.device("meta"):
            stored = MusicgenForConditionalGeneration(model.config)
        stored.load_state_dict({name: tensor.cpu().to(self.dtype) for name, tensor in weights.items()}, assign=True)
        stored.tie_weights()
        stored.generation_config = model.generation_config
        stored.save_pretrained(folder)
        (folder / "README.md").write_text(CARD.format(source=self.source), encoding="utf-8")
        open_to_readers(folder)


def _name_in_musicgen(name: str) -> str:
    first, _, rest = name.partition(".")
    return {"text_projection": f"enc_to_dec_proj.{rest}", "text_encoder": f"text_encoder.encoder.{rest}"}.get(
        first, name
    )

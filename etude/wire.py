"""Wires what a text says of tempo and key into a checkpoint's decoder, for training to begin with.

    python -m etude.wire CHECKPOINT OUT --data FOLDER

The checkpoint's text encoder has been taught by `etude.teach_text`. The decoder's first layer then tells where in the
beat of the text's tempo a frame is, and a head of its second which pitch classes are in the text's key
(`language_model/clock.py`, `pulse.py`, `key_head.py`). What the encoder says of them is found by regression, in
descriptions of seeds that training may see. FOLDER, of codes of pieces played exactly, is made by `etude.encode_codes`.
OUT is a new folder, with the rest as it was; `etude.train_lm` goes on from there, and has to, where the decoder was
trained before. Says how often held-out descriptions are read rightly, the beat and each of the key's twelve pitch
classes, what is told of a beat where they name none, and the mean square by which the beat's phase is missed, of 1, in
FOLDER's music.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from deployments.language_model.config import DecoderConfig
from etude.changed_checkpoint import write_changed
from etude.language_model.batches import Batch, Batches, inputs_of
from etude.language_model.clock import set_clock
from etude.language_model.code_shards import read_code_clips
from etude.language_model.key_head import set_key_head
from etude.language_model.pulse import set_pulse
from etude.language_model.roll import BEAT, NUM_BITS, roll_of
from etude.text.said import Said, attended, key_readout, said_of, tempo_readout
from etude.splits import SPLITS
from etude.text.lesson import last_tokens

_NUM_TEXTS, _NUM_HELD_OUT = 12000, 800
_NUM_CLIPS, _NUM_FRAMES = 400, 500
_MEASURED = 8
# Of clips, so many are read as if nothing had been played yet.
_UNPLAYED = 0.3


def wire(checkpoint: Path, out: Path, data: Path, *, seed: int) -> dict[str, float]:
    """Writes the checkpoint to a folder that doesn't exist yet; returns how well texts are read.

    Raises FileExistsError where `out` exists; ValueError for a decoder that has no room, and for clips of which none
    says its tempo to the text encoder.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype="auto").eval()
    stored = model.dtype
    model.float()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    clips = [
        dataclasses.replace(clip, roll=roll_of(clip.attributes, clip.codes.shape[1]))
        for clip in islice(read_code_clips(data), _NUM_CLIPS)
    ]
    config = DecoderConfig.from_transformers(model.config)
    batch = Batches(clips, tokenizer, config, num_frames=_NUM_FRAMES).beginnings(0, len(clips))
    learned = said_of(model, tokenizer, SPLITS["train"][:_NUM_TEXTS])
    tempo, key = tempo_readout(learned), key_readout(learned)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pad_token = model.config.decoder.pad_token_id
        columns = inputs_of(batch.labels, pad_token)
        texts = attended(model, batch.text, batch.text_mask)
        phases = _phases(batch, texts, tempo)
        set_clock(model, tempo, columns[:_MEASURED])
        if not phases.any():
            raise ValueError(
                f"of no clip in {data} the text encoder says the tempo: it has to be taught (etude.teach_text), and "
                "clips have to be played exactly (etude.dataset --exact)"
            )
        unplayed = columns.where(torch.rand(len(columns), 1, 1) > _UNPLAYED, pad_token)
        missed = set_pulse(model, unplayed, texts, batch.text_mask, phases)
        set_key_head(model, key, columns[:_MEASURED])
    found = _right(said_of(model, tokenizer, SPLITS["validation"][:_NUM_HELD_OUT]), tempo, key)
    model.to(stored)
    write_changed(model, checkpoint, out)
    return {**found, "phase_missed": round(missed, 3)}


def _phases(batch: Batch, texts: Tensor, tempo: Tensor) -> Tensor:
    """The cosine and sine of the beat's phase, [B, S, 2]: 0 where the clip has no score, or its text says no tempo."""
    told = texts[last_tokens(batch.text_mask)] @ tempo.T
    rows = batch.roll.nan_to_num()
    said = (told * rows[:, BEAT:NUM_BITS].amax(2)).sum(1) > 0.5
    return rows[:, NUM_BITS:].transpose(1, 2) * said[:, None, None]


def _right(said: Said, tempo: Tensor, key: Tensor) -> dict[str, float]:
    beats, keys = said.states @ tempo.T, said.means @ key.T
    named, in_key = said.beats.any(1), said.keys.any(1)
    return {
        "beat": round(float((beats.argmax(1) == said.beats.argmax(1))[named].float().mean()), 3),
        "beat_where_none_is_named": round(float(beats[said.lasts & ~named].norm(dim=1).mean()), 3),
        "key": round(float(((keys > 0) == (said.keys > 0))[in_key].float().mean()), 3),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.wire", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a MusicGen's folder, with the embedded tokenizer")
    parser.add_argument("out", type=Path, help="where to write the checkpoint; must not exist yet")
    parser.add_argument("--data", type=Path, required=True, help="a folder of codes that etude.encode_codes made")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        found = wire(options.checkpoint, options.out, options.data, seed=options.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

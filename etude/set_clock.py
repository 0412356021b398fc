"""Sets a clock into a checkpoint's decoder: its first layer then tells where in the beat of a text's tempo a frame is.

    python -m etude.set_clock CHECKPOINT OUT --data FOLDER

The checkpoint's text encoder has been taught by `etude.teach_text`; what it says of the tempo is found by regression,
in descriptions of seeds that training may see. FOLDER, of codes of pieces played exactly, is made by
`etude.encode_codes`. OUT is a new folder, with the rest as it was; `etude.train_lm` goes on from there, and has to,
where the decoder was trained before. Says how often held-out descriptions set the clock to the beat they name, what is
left of it where they name none, and the mean square by which the beat's phase is missed, of 1, in FOLDER's music.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from deployments.language_model.config import DecoderConfig
from etude.changed_checkpoint import write_changed
from etude.language_model.batches import Batch, Batches, inputs_of
from etude.language_model.clock import set_clock
from etude.language_model.code_shards import read_code_clips
from etude.language_model.pulse import set_pulse
from etude.language_model.roll import BEAT, NUM_BITS, roll_of
from etude.splits import SPLITS
from etude.text.facts import describe_seeds
from etude.text.lesson import last_tokens

_NUM_TEXTS, _NUM_HELD_OUT = 8000, 600
_TEXTS_AT_ONCE = 100
# Of a last token that says a tempo, one that says none, and any other; most tokens are others.
_WEIGHTS = (10.0, 3.0, 1.0)
_RIDGE = 0.1
_NUM_CLIPS, _NUM_FRAMES = 400, 500
_MEASURED = 8
# Of clips, so many are read as if nothing had been played yet.
_UNPLAYED = 0.3


def clocked(checkpoint: Path, out: Path, data: Path, *, seed: int) -> dict[str, float]:
    """Writes the checkpoint to a folder that doesn't exist yet; returns how well texts set its clock.

    Raises FileExistsError where `out` exists; ValueError for a decoder that has no room for a clock, and for clips of
    which none says its tempo to the text encoder.
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
    states, tempos, lasts = _read(model, tokenizer, SPLITS["train"][:_NUM_TEXTS])
    readout = _regress(states, tempos, lasts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pad_token = model.config.decoder.pad_token_id
        columns = inputs_of(batch.labels, pad_token)
        set_clock(model, readout, columns[:_MEASURED])
        columns = columns.where(torch.rand(len(columns), 1, 1) > _UNPLAYED, pad_token)
        texts = _attended(model, batch.text, batch.text_mask)
        phases = _phases(batch, texts, readout)
        if not phases.any():
            raise ValueError(
                f"of no clip in {data} the text encoder says the tempo: it has to be taught (etude.teach_text), and "
                "clips have to be played exactly (etude.dataset --exact)"
            )
        missed = set_pulse(model, columns, texts, batch.text_mask, phases)
    states, tempos, lasts = _read(model, tokenizer, SPLITS["validation"][:_NUM_HELD_OUT])
    told, said = states @ readout.T, tempos.any(1)
    right = told[said].argmax(1) == tempos[said].argmax(1)
    model.to(stored)
    write_changed(model, checkpoint, out)
    return {
        "right": round(float(right.float().mean()), 3),
        "where_none_is_named": round(float(told[lasts & ~said].norm(dim=1).mean()), 3),
        "of_other_words": round(float(told[~lasts].norm(dim=1).mean()), 3),
        "phase_missed": round(missed, 3),
    }


def _phases(batch: Batch, texts: Tensor, readout: Tensor) -> Tensor:
    """The cosine and sine of the beat's phase, [B, S, 2]: 0 where the clip has no score, or its text says no tempo."""
    told = texts[last_tokens(batch.text_mask)] @ readout.T
    rows = batch.roll.nan_to_num()
    said = (told * rows[:, BEAT:NUM_BITS].amax(2)).sum(1) > 0.5
    return rows[:, NUM_BITS:].transpose(1, 2) * said[:, None, None]


@torch.no_grad()
def _attended(model: MusicgenForConditionalGeneration, text: Tensor, mask: Tensor) -> Tensor:
    """text, mask: [B, N]. As the decoder attends to it: [B, N, hidden], zero for padding."""
    states: Tensor = model.text_encoder(input_ids=text, attention_mask=mask).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        states = model.enc_to_dec_proj(states)
    return states * mask[:, :, None]


def _read(
    model: MusicgenForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, seeds: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of all tokens of these seeds' descriptions: states as the decoder attends to them, [tokens, hidden]; the tempo
    that is said, 1 at the last token, [tokens, tempos]; and which tokens are a text's last, bool [tokens].
    """
    texts, facts = describe_seeds(seeds)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        read = tokenizer(texts[first : first + _TEXTS_AT_ONCE], padding=True, return_tensors="pt")
        shown = read.attention_mask.bool()
        states = _attended(model, read.input_ids, read.attention_mask)
        last = last_tokens(read.attention_mask)
        tempos = facts.beats[first : first + _TEXTS_AT_ONCE, None] * last[:, :, None]
        parts.append((states[shown], tempos[shown], last[shown]))
    states, tempos, lasts = (torch.cat(each) for each in zip(*parts, strict=True))
    return states, tempos, lasts


def _regress(states: Tensor, tempos: Tensor, lasts: Tensor) -> Tensor:
    """[tempos, hidden], by weighted least squares."""
    said, unsaid, other = _WEIGHTS
    weights = torch.where(tempos.any(1), said, torch.where(lasts, unsaid, other)).double()[:, None]
    known, wanted = states.double(), tempos.double()
    gram = known.T @ (weights * known) + _RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
    solved: Tensor = torch.linalg.solve(gram, known.T @ (weights * wanted))
    return solved.T.float()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.set_clock", description=__doc__.splitlines()[0])
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
        found = clocked(options.checkpoint, options.out, options.data, seed=options.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

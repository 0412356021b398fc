"""Teaches a checkpoint's text encoder what descriptions say: tempo, key, instruments, genre, mood.

    python -m etude.teach_text CHECKPOINT OUT [--steps 3000]

MusicGen's own text encoder has read for months before it hears any music; ours would have to learn what "at 96 bpm in
D minor" says from what little it changes in the next frame. So it learns that first, from descriptions alone, of which
there are endless: a linear map of the mean of its states has to tell the facts, and one of its last state the beat,
for `etude.wire`. Held-out descriptions, of seeds that are never trained on, say how well. OUT is a new folder,
with the rest as it was; `etude.train_lm` goes on from there. Where a decoder has learned to listen to the encoder
already, --near keeps what it says near to what it said.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoTokenizer, MusicgenForConditionalGeneration
from transformers.utils import logging as transformers_logging

from etude.changed_checkpoint import write_changed
from etude.splits import SPLITS
from etude.text.facts import describe_seeds
from etude.text.lesson import Pupil, farness, rightness

_HELD_OUT_TEXTS = 1000
_WARMUP_STEPS = 100


def teach(
    checkpoint: Path, out: Path, *, texts: int, steps: int, batch: int, rate: float, near: float, seed: int
) -> dict[str, float]:
    """Writes the checkpoint to a folder that doesn't exist yet; returns how often each fact of held-out texts is told.

    Raises FileExistsError where `out` exists; ValueError for no texts or no steps.
    """
    if min(texts, steps, batch) < 1:
        raise ValueError(f"texts, steps and batch are at least 1, not {texts}, {steps} and {batch}")
    if out.exists():
        raise FileExistsError(f"{out} exists already")
    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype="auto").eval()
    stored = model.dtype
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pupil = Pupil(model.text_encoder.encoder.float(), model.config.text_encoder.d_model)
    before = copy.deepcopy(pupil).requires_grad_(False)
    words, facts = describe_seeds(SPLITS["train"][:texts])
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    progress = tqdm(range(steps), desc="text")
    for _ in progress:
        places = torch.randint(len(words), (batch,), generator=generator)
        tokens = tokenizer([words[i] for i in places.tolist()], padding=True, return_tensors="pt")
        told = pupil(tokens.input_ids, tokens.attention_mask)
        cost = pupil.loss(told, facts.of(places))
        if near:
            cost = cost + near * farness(told, before(tokens.input_ids, tokens.attention_mask))
        optimizer.zero_grad()
        cost.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=round(float(cost.detach()), 3), refresh=False)
    held_out, their_facts = describe_seeds(SPLITS["validation"][:_HELD_OUT_TEXTS])
    tokens = tokenizer(held_out, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = rightness(pupil(tokens.input_ids, tokens.attention_mask), their_facts)
    model.text_encoder.to(stored)
    write_changed(model, checkpoint, out)
    return found


def _rate(step: int, steps: int) -> float:
    """The factor of the learning rate: a line up, and a half cosine down to nothing."""
    return min(1.0, (step + 1) / _WARMUP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m etude.teach_text", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a MusicGen's folder, with the embedded tokenizer")
    parser.add_argument("out", type=Path, help="where to write the checkpoint; must not exist yet")
    parser.add_argument("--texts", type=int, default=100000, help="descriptions to learn from; default 100000")
    parser.add_argument("--steps", type=int, default=3000, help="default 3000")
    parser.add_argument("--batch", type=int, default=64, help="descriptions a step; default 64")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default 0.001")
    parser.add_argument("--near", type=float, default=0.0, help="what leaving what it said weighs; default 0")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default %(default)s")
    parser.add_argument("--nice", type=int, default=0, help="how far others go first, 0 to 19; default 0")
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    torch.set_num_threads(options.threads)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    told = {name: getattr(options, name) for name in ("texts", "steps", "batch", "near", "seed")}
    try:
        found = teach(options.checkpoint, options.out, rate=options.learning_rate, **told)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

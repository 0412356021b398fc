"""One stage of the codec's training, from its folder and back into it.

    FOLDER/recipe.json   what the stage was told
           state/N/      everything at step N that going on needs: weights, optimiser, schedule, random state
           log.jsonl     a line for every few steps: losses; now and then figures on held-out pieces
           codec/        the weights of the last state as an EncodecModel: config.json, model.safetensors

A killed run goes on from the last state as if nothing had happened, and its log is cut back to there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm
from transformers import EncodecModel

from etude.codec.crops import Crops
from etude.codec.losses import weighted
from etude.codec.metrics import measure
from etude.codec.quantiser import Quantised, fit, follow, is_unfitted, perplexities
from etude.codec.recipe import Recipe
from etude.codec.trainee import Trainee

CODEC = "codec"
LOG = "log.jsonl"
_RECIPE = "recipe.json"
_STATE = "state"

# Latents that k-means begins with, for each code.
_LATENTS_PER_CODE = 16


@dataclass(frozen=True)
class Pace:
    """How often what is done, in ways that the result doesn't depend on.

    minutes: after which training stops, to be resumed; None: at the recipe's end. save_minutes: between states.
    log_steps: between lines of the log. figures_steps: between figures on held-out pieces, so many as held_out_pieces.
    """

    minutes: float | None = None
    save_minutes: float = 5.0
    log_steps: int = 20
    figures_steps: int = 500
    held_out_pieces: int = 16


class Trainer:
    """model: to begin with, where the folder has no state yet. crops: of the recipe's length. held_out: any length.

    Raises ValueError for a folder that was begun with another recipe.
    """

    def __init__(
        self, folder: Path, recipe: Recipe, model: EncodecModel, crops: Crops, held_out: Crops, *, pace: Pace
    ) -> None:
        self._folder, self._recipe, self._pace = folder, recipe, pace
        self._crops, self._held_out = crops, held_out
        _settle(folder, recipe)
        self._model = model
        self._accelerator = Accelerator()
        self._trainee = Trainee(model, recipe.stage)
        learned = [parameter for parameter in self._trainee.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate)
        self._trained, self._optimizer = self._accelerator.prepare(self._trainee, optimizer)
        # Not prepared: accelerate would take a step of it for every process.
        self._schedule = schedule
        self._accelerator.register_for_checkpointing(schedule)
        self.step = 0
        """Steps taken so far."""

    def run(self) -> None:
        """Trains to the recipe's end, or as long as the pace allows, and saves the state."""
        self._resume()
        if self.step == 0:
            self._begin()
        started = saved = time.monotonic()
        limit = float("inf") if self._pace.minutes is None else 60 * self._pace.minutes
        quiet = not self._accelerator.is_main_process
        with tqdm(total=self._recipe.steps, initial=self.step, desc=self._recipe.stage, disable=quiet) as progress:
            while self.step < self._recipe.steps and time.monotonic() - started < limit:
                line = self._advance()
                progress.update()
                if self.step % self._pace.log_steps == 0 or self.step == 1:
                    self._log(line)
                    progress.set_postfix(loss=line["loss"], refresh=False)
                if self.step % self._pace.figures_steps == 0:
                    self._log_figures()
                if time.monotonic() - saved > 60 * self._pace.save_minutes:
                    self._save()
                    saved = time.monotonic()
        self._save()

    def _begin(self) -> None:
        if self._recipe.stage != "autoencoder" and is_unfitted(self._model.quantizer):
            fit(self._model.quantizer, self._latents(), self._generator())
        self._log_figures()
        self._save()

    def _advance(self) -> dict[str, object]:
        """One step; returns its line of the log."""
        recipe, process = self._recipe, self._accelerator.process_index
        sound = self._crops.batch(self.step, recipe.batch, process).to(self._accelerator.device)
        self._trained.train()
        outcome = self._trained(sound)
        loss = weighted(outcome.terms)
        self._accelerator.backward(loss)
        norm = self._accelerator.clip_grad_norm_(self._trained.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of step {self.step} is {float(norm)}: try a smaller learning rate")
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        line: dict[str, object] = {"loss": _rounded(loss)}
        line |= {name: _rounded(term) for name, term in outcome.terms.items()}
        line |= {"gradient": _rounded(norm), "rate": self._schedule.get_last_lr()[0]}
        if outcome.quantised is not None and recipe.stage == "quantiser":
            line["restarted"] = follow(self._model.quantizer, self._gathered(outcome.quantised), self._generator())
            line["perplexity"] = [round(value) for value in perplexities(self._model.quantizer)]
        self.step += 1
        return line

    def _gathered(self, quantised: Quantised) -> Quantised:
        """With what the other processes quantised, so that the codebooks stay the same in all."""
        gather: Callable[[Tensor], Tensor] = self._accelerator.gather
        codes = gather(quantised.codes.T.contiguous()).T
        residuals = gather(quantised.residuals.transpose(0, 1).contiguous()).transpose(0, 1)
        return Quantised(quantised.latents, codes, residuals, quantised.commitment)

    def _generator(self) -> torch.Generator:
        """Of draws that are the step's, and the same in every process."""
        return torch.Generator().manual_seed(self._recipe.seed * 1_000_003 + self.step)

    @torch.no_grad()
    def _latents(self) -> Tensor:
        """Latents [N, D] of random crops, enough for k-means, the same in every process."""
        wanted = _LATENTS_PER_CODE * self._model.config.codebook_size
        found: list[Tensor] = []
        while sum(map(len, found)) < wanted:
            # Crops of steps that are never reached.
            sound = self._crops.batch(self._recipe.steps + len(found), self._recipe.batch)
            latents = self._model.encoder(sound.to(self._accelerator.device)[:, None])
            found.append(latents.float().transpose(1, 2).flatten(0, 1))
        return torch.cat(found)

    def _log_figures(self) -> None:
        quantised = self._recipe.stage != "autoencoder"
        figures = measure(self._model, self._held_out, pieces=self._pace.held_out_pieces, quantised=quantised)
        self._log({"held_out": figures.as_dict()})

    def _log(self, line: dict[str, object]) -> None:
        if self._accelerator.is_main_process:
            with (self._folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.step, **line}) + "\n")

    def _save(self) -> None:
        """Writes the state, and then removes the one before; a kill at any moment leaves one of them whole."""
        states = self._folder / _STATE
        unfinished = states / "unfinished"
        if self._accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(unfinished))
        self._accelerator.wait_for_everyone()
        if not self._accelerator.is_main_process:
            return
        before = _saved_steps(states)
        if self.step in before:
            shutil.rmtree(unfinished)
            return
        unfinished.rename(states / str(self.step))
        for step in before:
            shutil.rmtree(states / str(step))
        codec = self._folder / f"{CODEC}.unfinished"
        self._model.save_pretrained(codec)
        shutil.rmtree(self._folder / CODEC, ignore_errors=True)
        codec.rename(self._folder / CODEC)

    def _resume(self) -> None:
        steps = _saved_steps(self._folder / _STATE)
        if not steps:
            (self._folder / LOG).unlink(missing_ok=True)
            return
        self.step = max(steps)
        self._accelerator.load_state(str(self._folder / _STATE / str(self.step)))
        log = self._folder / LOG
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if _is_of(line, self.step)]
        unfinished = log.with_suffix(".unfinished")
        unfinished.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        unfinished.replace(log)


def _settle(folder: Path, recipe: Recipe) -> None:
    """Writes the recipe into a new folder, and compares it with that of an old one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _RECIPE
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(recipe.model_dump_json() + "\n", encoding="utf-8")
        unfinished.replace(path)
    there = Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    if there != recipe:
        raise ValueError(f"{folder} was begun with {there}, not with {recipe}: choose another folder")


def _saved_steps(states: Path) -> list[int]:
    return [int(path.name) for path in states.glob("*") if path.name.isdigit()]


def _is_of(line: str, last_step: int) -> bool:
    """Whether a line of the log is whole, and of a step up to this."""
    try:
        return bool(json.loads(line)["step"] <= last_step)
    except json.JSONDecodeError:
        return False


def _rounded(value: Tensor) -> float:
    return round(float(value.detach()), 5)

"""Training a language model, from its folder and back into it.

FOLDER/…             as `etude.training.run_folder` has it
       checkpoint/   the last state as a MusicGen in transformers' format, to be served or trained on
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import MusicgenForConditionalGeneration

from etude.language_model.attention import attend_by_whole_products
from etude.language_model.batches import Batches
from etude.language_model.likelihood import likelihood
from etude.language_model.origin import Origin
from etude.language_model.recipe import Recipe
from etude.language_model.trainee import Trainee, codebook_means
from etude.training.loop import run
from etude.training.pace import Pace
from etude.training.run_folder import RunFolder

CHECKPOINT = "checkpoint"

_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16"}

# Clips that figures are of.
_HELD_OUT_CLIPS = 32


def accelerator_of(recipe: Recipe) -> Accelerator:
    """To be made before anything asks accelerate for a device: the first one settles how many processes there are."""
    return Accelerator(mixed_precision=_MIXED_PRECISION[recipe.precision])


class Trainer:
    """model: to begin with, float32; its codec is kept as it is. origin: how it is written. held_out: for figures, if
    there are any. accelerator: of the recipe's precision (`accelerator_of`).

    Raises ValueError for a folder that was begun with another recipe, and for a recipe that the devices can't follow.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        model: MusicgenForConditionalGeneration,
        batches: Batches,
        held_out: Batches | None,
        *,
        origin: Origin,
        accelerator: Accelerator,
        pace: Pace,
    ) -> None:
        self._accelerator = accelerator
        with self._accelerator.main_process_first():
            self.folder = RunFolder(folder, recipe)
        self._recipe, self._pace = recipe, pace
        self._model, self._held_out = model, held_out
        self._sizes = _sizes(batches, recipe)
        self._origin = origin
        if accelerator.device.type == "cpu" and recipe.precision == "bfloat16":
            attend_by_whole_products(model.decoder)
        self._trainee = Trainee(model, trains_text=recipe.text_encoder == "trained", tells_score=recipe.score > 0)
        optimizer = torch.optim.AdamW(_groups(self._trainee, recipe), lr=recipe.learning_rate, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate)
        self._average = self._new_average()
        self._trained, self._optimizer = self._accelerator.prepare(self._trainee, optimizer)
        # Not prepared: accelerate would take a step of it for every process.
        self._schedule = schedule
        self._accelerator.register_for_checkpointing(schedule)

    def run(self) -> int:
        """Trains to the recipe's end, or as long as the pace allows; returns the steps taken so far.

        Raises FloatingPointError where training has come apart.
        """
        name, steps = self.folder.path.name, self._recipe.steps
        return run(self, self.folder, self._accelerator, steps=steps, pace=self._pace, name=name)

    def begin(self) -> None:
        """Dropout is drawn from here on, in every process something else."""
        set_seed(self._recipe.seed, device_specific=True)

    def advance(self, step: int) -> dict[str, object]:
        """One step; returns its line of the log."""
        accelerator, recipe = self._accelerator, self._recipe
        batches, size = self._sizes[step % len(self._sizes)]
        batch = batches.batch(step, size, accelerator.process_index).to(accelerator.device)
        self._trained.train()
        code_losses, roll_loss = self._trained(batch)
        losses = codebook_means(code_losses, batch.labels)
        accelerator.backward(losses.mean() + recipe.score * roll_loss)
        norm = accelerator.clip_grad_norm_(self._trained.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of step {step} is {float(norm)}: try a smaller learning rate")
        rate = self._schedule.get_last_lr()[0]
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._trainee)
        seen: Tensor = accelerator.reduce(losses.detach(), reduction="mean")
        codebooks = [round(value, 5) for value in seen.tolist()]
        mean = round(float(seen.mean()), 5)
        line = {"loss": mean, "codebook": codebooks, "gradient": round(float(norm), 5), "rate": rate}
        if recipe.score:
            line["roll"] = round(float(accelerator.reduce(roll_loss.detach(), reduction="mean")), 5)
        return line

    def figures(self) -> dict[str, object]:
        """On held-out clips; empty where there are none."""
        if self._held_out is None:
            return {}
        found = likelihood(self._trained, self._held_out, clips=_HELD_OUT_CLIPS, device=self._accelerator.device)
        return {"held_out": found.as_dict()}

    def export(self) -> None:
        """Writes the checkpoint, averaged where the recipe says so."""
        average = self._average
        weights = average.module.state_dict() if average else self._accelerator.get_state_dict(self._trained)
        if self._accelerator.is_main_process:
            self.folder.replace(CHECKPOINT, lambda folder: self._origin.write(folder, self._model, weights))

    def _new_average(self) -> AveragedModel | None:
        if not self._recipe.average:
            return None
        if self._accelerator.distributed_type == DistributedType.FSDP:
            raise ValueError(
                "an average of the weights needs all of them in one place, and FSDP spreads them: set it to 0"
            )
        stays = self._recipe.average

        def follow(average: Tensor, weight: Tensor, _: Tensor | int) -> Tensor:
            return torch.lerp(weight, average, stays)

        average = AveragedModel(self._trainee.to(self._accelerator.device), avg_fn=follow)
        self._accelerator.register_for_checkpointing(average)
        return average


def _sizes(batches: Batches, recipe: Recipe) -> list[tuple[Batches, int]]:
    """For each of the windows that steps take turns with: its batches, and their size, of as many seconds as the
    first's. Longer windows than the shortest are for clips that fill them, where there are any.
    """
    first = recipe.context_s[0]
    frames = [max(1, round(batches.num_frames * each / first)) for each in recipe.context_s]
    windows = [batches.of_frames(each, filled=each > min(frames)) for each in frames]
    return [(each, max(1, recipe.batch * frames[0] // each.num_frames)) for each in windows]


def _groups(trainee: Trainee, recipe: Recipe) -> list[dict[str, object]]:
    """Matrices decay; what is added, scaled or looked up does not."""
    learned = [each for each in trainee.parameters() if each.requires_grad]
    tables = {id(module.weight) for module in trainee.modules() if isinstance(module, nn.Embedding)}
    stays = tables | trainee.kept
    decays = [each for each in learned if each.ndim > 1 and id(each) not in stays]
    others = [each for each in learned if each.ndim == 1 or id(each) in stays]
    return [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]

"""A step of a codec's training, as `etude.training.loop` runs it."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import EncodecModel

from etude.codec.crops import Crops
from etude.codec.metrics import measure
from etude.codec.quantiser import Quantised, fit, follow, is_unfitted, perplexities, quantise
from etude.codec.training.adversary import Adversary, weighed
from etude.codec.training.averaging import Average
from etude.codec.training.balancer import Balancer
from etude.codec.training.halves import decode, encode
from etude.codec.training.recipe import Recipe
from etude.codec.training.rests import with_rests
from etude.codec.training.spectral_loss import SpectralLoss
from etude.training.run_folder import RunFolder

CODEC, LAST = "codec", "last"

# Of the reconstruction's gradient.
WEIGHTS = {"spectral": 1.0, "wave": 0.1, "adversary": 0.5}

# In the spectral loss. Where nothing is alike its terms are near 2, 2 and 1.
_SPECTRAL = {"log_mel": 1.0, "log_magnitude": 0.3, "convergence": 1.0}

_LATENTS_PER_CODE = 16


class CodecWork:
    """folder: gets `codec`, the averaged weights, and `last`, those of the last step, as EncodecModel's folders.

    model: to begin with. crops: of the recipe's length. held_out: of any; the first `held_out_pieces` give figures.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        model: EncodecModel,
        crops: Crops,
        held_out: Crops,
        accelerator: Accelerator,
        *,
        held_out_pieces: int = 16,
    ) -> None:
        self._folder, self._recipe, self._accelerator = folder, recipe, accelerator
        self._crops, self._held_out, self._held_out_pieces = crops, held_out, held_out_pieces
        self._codec = codec = model.to(accelerator.device)
        self._learned = list(codec.parameters())
        self._optimizer = torch.optim.AdamW(self._learned, lr=recipe.learning_rate, betas=(0.8, 0.99), weight_decay=0.0)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, recipe.rate)
        self._average = Average(codec, recipe.average)
        self._spectral = SpectralLoss(codec.config.sampling_rate).to(accelerator.device)
        self._balancer = Balancer(WEIGHTS)
        self._adversary = Adversary(recipe.learning_rate, recipe.seed, accelerator.device) if recipe.judged else None
        # None of it is prepared: the halves are called apart, so processes' gradients are put together here.
        saved = [codec, self._optimizer, self._schedule, self._average, self._balancer]
        accelerator.register_for_checkpointing(*saved, *([self._adversary] if self._adversary else []))

    def begin(self) -> None:
        """Codebooks that are empty are set by k-means."""
        if is_unfitted(self._codec.quantizer):
            fit(self._codec.quantizer, self._latents(), torch.Generator().manual_seed(self._recipe.seed))
            self._average.model.load_state_dict(self._codec.state_dict())

    def advance(self, step: int) -> dict[str, object]:
        """One step; returns its line of the log. Raises FloatingPointError for a gradient that is not finite."""
        recipe, model = self._recipe, self._codec
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        crops = self._crops.batch(step, recipe.batch, self._accelerator.process_index)
        sound = with_rests(crops.to(self._accelerator.device), recipe.rests, generator)
        model.train()
        latents = encode(model, sound)
        # The two halves meet at a leaf, so that each loss's share of the encoder's gradient can be told.
        cut = latents.detach().requires_grad_()
        quantised = quantise(model.quantizer, cut, self._depths(generator))
        reconstruction = decode(model, quantised.latents)
        losses, terms = self._losses(step, sound, reconstruction)
        (commitment,) = torch.autograd.grad(quantised.commitment, [cut], retain_graph=True)
        torch.autograd.backward([reconstruction], [self._balancer.gradient(losses, reconstruction)])
        assert cut.grad is not None
        share = recipe.commitment * cut.grad.norm() / commitment.norm().clamp(min=1e-12)
        torch.autograd.backward([latents], [cut.grad + share * commitment])
        gradients = [parameter.grad for parameter in self._learned if parameter.grad is not None]
        if self._accelerator.num_processes > 1:
            for gradient in gradients:
                gradient.copy_(self._accelerator.reduce(gradient, reduction="mean"))
        norm = torch.nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of step {step} is {float(norm)}: try a smaller learning rate")
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        if self._adversary is not None:
            judged = slice(recipe.judged)
            terms["discriminator"] = self._adversary.learn(sound[judged], reconstruction[judged])
        restarted = follow(model.quantizer, self._gathered(quantised), generator)
        self._average.follow(model)
        line: dict[str, object] = {"loss": _rounded(losses["spectral"])}
        line |= {name: _rounded(term) for name, term in terms.items()}
        line |= {"commitment": _rounded(quantised.commitment), "gradient": _rounded(norm), "restarted": restarted}
        return line | {"perplexity": [round(value) for value in perplexities(model.quantizer)]}

    def figures(self) -> dict[str, object]:
        """Of the averaged weights."""
        return {"held_out": measure(self._average.model, self._held_out, pieces=self._held_out_pieces).as_dict()}

    def export(self) -> None:
        """Both codecs, by the first process."""
        if self._accelerator.is_main_process:
            self._folder.replace(CODEC, self._average.model.save_pretrained)
            self._folder.replace(LAST, self._codec.save_pretrained)

    def _losses(self, step: int, sound: Tensor, reconstruction: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the balancer weighs, and what the log tells beside it."""
        terms: dict[str, Tensor] = self._spectral(sound, reconstruction)
        spectral = torch.stack([_SPECTRAL[name] * term for name, term in terms.items()]).sum()
        losses = {"spectral": spectral, "wave": (sound - reconstruction).abs().mean()}
        if self._adversary is not None and step >= self._recipe.judged_from:
            judged = slice(self._recipe.judged)
            verdicts = self._adversary.loss(sound[judged], reconstruction[judged])
            losses["adversary"] = weighed(verdicts)
            terms = {**terms, **verdicts}
        return losses, terms

    def _depths(self, generator: torch.Generator) -> Tensor:
        """How many codebooks are heard of each crop: [B]."""
        size, books = self._recipe.batch, self._codec.config.num_quantizers
        fewer = torch.randint(1, books + 1, (size,), generator=generator)
        drops = torch.rand(size, generator=generator) < self._recipe.dropped
        return torch.where(drops, fewer, torch.tensor(books)).to(self._accelerator.device)

    def _gathered(self, quantised: Quantised) -> Quantised:
        """With what the other processes quantised, so that the codebooks stay the same in all."""
        gather = self._accelerator.gather
        codes = gather(quantised.codes.T.contiguous()).T
        residuals = gather(quantised.residuals.transpose(0, 1).contiguous()).transpose(0, 1)
        return Quantised(quantised.latents, codes, residuals, quantised.commitment)

    @torch.no_grad()
    def _latents(self) -> Tensor:
        """Latents [N, D] of random crops, enough for k-means, the same in every process."""
        wanted = _LATENTS_PER_CODE * self._codec.config.codebook_size
        found: list[Tensor] = []
        while sum(map(len, found)) < wanted:
            # Crops of steps that are never reached.
            sound = self._crops.batch(self._recipe.steps + len(found), self._recipe.batch)
            latents = encode(self._codec, sound.to(self._accelerator.device))
            found.append(latents.transpose(1, 2).flatten(0, 1))
        return torch.cat(found)


def _rounded(value: Tensor) -> float:
    return round(float(value.detach()), 5)

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import MusicgenForConditionalGeneration, PreTrainedTokenizerBase

from deployments.language_model.config import DecoderConfig
from etude.language_model.batches import Batches
from etude.language_model.likelihood import likelihood
from etude.language_model.trainee import Trainee, codebook_means
from tests.etude.language_model.conftest import random_clips


def test_means_are_over_codes_and_not_over_batches(
    model: MusicgenForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    batches = Batches(random_clips((12, 30, 4, 7, 20, 9, 30, 2, 5, 11)), tokenizer, config, num_frames=12)
    trainee = Trainee(model, trains_text=True).train()
    found = likelihood(trainee, batches, clips=100, device=torch.device("cpu"))
    assert trainee.training
    batch = batches.beginnings(0, 10)
    with torch.no_grad():
        together = codebook_means(trainee.eval()(batch)[0], batch.labels)
        silent = replace(batch, unheard=torch.ones(10, dtype=torch.bool))
        without = codebook_means(trainee(silent)[0], batch.labels)
    assert found.with_text == pytest.approx(together.tolist(), abs=1e-4)
    assert found.without_text == pytest.approx(without.tolist(), abs=1e-4)
    assert found.with_others_text != found.with_text
    assert found.perplexity[0] == pytest.approx(math.exp(found.with_text[0]), rel=1e-2)
    assert found.as_dict()["with_text_mean"] == pytest.approx(float(together.mean()), abs=1e-4)

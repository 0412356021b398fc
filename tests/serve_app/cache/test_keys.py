"""Keys: the same for what gives the same codes, another for all else."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.language_model.engine.sampler import SamplingBatch
from deployments.messages import Sampling
from serve_app.api.schemas.parsing import canonical_prompt
from serve_app.cache.keys import (
    GenerationRequest,
    Key,
    alias_key,
    audio_key,
    canonical_sampling,
    folded,
    generation_key,
)
from serve_app.errors import InvalidRequest
from tests.serve_app.cache.cached import MODEL, REQUEST

VOCAB = 16
PROMPT_CODES = np.arange(8, dtype=np.int16).reshape(4, 2)

samplings = st.builds(
    Sampling,
    guidance_scale=st.sampled_from([0, -0.0, 1, 1.0, 3, 3.0, 3.5]),
    temperature=st.sampled_from([0, 0.0, -0.0, 1, 1.0, 0.7]),
    top_k=st.sampled_from([0, 1, 5, VOCAB - 1, VOCAB, VOCAB + 1]),
    top_p=st.sampled_from([0, 0.0, -0.0, 0.5, 0.9, 1, 1.0]),
)


def in_effect(sampling: Sampling) -> tuple[Any, ...]:
    """What the sampler makes of the settings: the reference for which of them are the same."""
    batch = SamplingBatch.of([sampling], [0], VOCAB)
    greedy = bool(batch.greedy[0])
    drawn_from = None if greedy else (batch.top_k[0], batch.top_p[0])
    return float(batch.guidance_scale[0]), float(batch.temperature[0]), greedy, drawn_from


@given(samplings, samplings)
def test_two_samplings_have_one_key_just_where_the_sampler_does_the_same(one: Sampling, other: Sampling) -> None:
    same = canonical_sampling(one, VOCAB) == canonical_sampling(other, VOCAB)
    assert same == (in_effect(one) == in_effect(other))
    small = replace(REQUEST, model=replace(MODEL, vocab_size=VOCAB))
    keys = [generation_key(replace(small, sampling=sampling), 7) for sampling in (one, other)]
    assert (keys[0] == keys[1]) == same


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "tenant"},
        {"model": replace(MODEL, name="small")},
        {"model": replace(MODEL, revision="cd" * 20)},
        {"model": replace(MODEL, numerics="aarch64 torch 2.13 float32")},
        {"prompt": "a slow Blues"},
        {"sampling": Sampling(guidance_scale=1)},
        {"sampling": Sampling(temperature=0.5)},
        {"sampling": Sampling(top_k=249)},
        {"sampling": Sampling(top_p=0.5)},
        {"prompt_codes": PROMPT_CODES},
    ],
)
def test_whatever_decides_a_code_decides_the_key(change: dict[str, Any]) -> None:
    changed = replace(REQUEST, **change)
    assert generation_key(changed, 7) != generation_key(REQUEST, 7)
    assert alias_key(changed) != alias_key(REQUEST)


def test_no_field_is_forgotten() -> None:
    assert {field.name for field in fields(GenerationRequest)} == {
        "scope", "model", "prompt", "sampling", "prompt_codes",
    }  # fmt: skip


def test_the_seed_is_in_a_generations_key_and_not_in_its_alias() -> None:
    assert generation_key(REQUEST, 7) != generation_key(REQUEST, 8)
    assert generation_key(REQUEST, 7).digest != alias_key(REQUEST).digest


def test_the_key_is_the_hash_of_this_text() -> None:
    text = (
        r'{"guidance_scale":3.0,"key":"generation","model":"tiny","numerics":"x86_64 torch 2.13 float32",'
        r'"prompt":"caf\u00e9","prompt_codes":null,"revision":"abababababababababababababababababababab",'
        r'"schema":2,"scope":"everyone","seed":18446744073709551615,"temperature":1.0,"top_k":250,"top_p":0.0}'
    )
    key = generation_key(replace(REQUEST, prompt="  cafe\u0301\n"), 2**64 - 1)
    assert key == Key("codes", hashlib.sha256(text.encode()).hexdigest())


@given(st.text(max_size=60))
def test_folding_is_what_the_api_does_and_changes_nothing_twice(prompt: str) -> None:
    assert folded(folded(prompt)) == folded(prompt)
    try:
        canonical = canonical_prompt(prompt)
    except InvalidRequest:
        return
    assert folded(prompt) == canonical


def test_prompt_codes_count_by_value_and_shape() -> None:
    key = generation_key(replace(REQUEST, prompt_codes=PROMPT_CODES), 7)
    assert generation_key(replace(REQUEST, prompt_codes=np.asfortranarray(PROMPT_CODES.astype(np.int64))), 7) == key
    assert generation_key(replace(REQUEST, prompt_codes=PROMPT_CODES.reshape(2, 4)), 7) != key
    assert generation_key(replace(REQUEST, prompt_codes=PROMPT_CODES[:, :0]), 7) == generation_key(REQUEST, 7)
    with pytest.raises(ValueError, match=r"integers \[codebooks, frames\], not float64 \[4, 2\]"):
        generation_key(replace(REQUEST, prompt_codes=PROMPT_CODES.astype(float)), 7)
    with pytest.raises(ValueError, match=r"not int16 \[8\]"):
        generation_key(replace(REQUEST, prompt_codes=PROMPT_CODES.ravel()), 7)


def test_sound_is_of_a_generation_a_length_a_container_and_a_loudness() -> None:
    generation = generation_key(REQUEST, 7)
    key = audio_key(generation, 2_500, "wav", None)
    others = [
        audio_key(generation_key(REQUEST, 8), 2_500, "wav", None),
        audio_key(generation, 2_501, "wav", None),
        audio_key(generation, 2_500, "flac", None),
        audio_key(generation, 2_500, "wav", -14.0),
        audio_key(generation, 2_500, "wav", -16.0),
    ]
    assert len({key, *others}) == 6
    assert audio_key(generation, 2_500, "wav", -14) == others[3]
    with pytest.raises(ValueError, match="of a generation, not of alias"):
        audio_key(alias_key(REQUEST), 2_500, "wav", None)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "/" * 64])
def test_a_keys_name_is_hexadecimal_digits_and_nothing_else(digest: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Key("codes", digest)
    with pytest.raises(ValueError, match="one of codes, alias, sound"):
        Key("../codes", "a" * 64)  # type: ignore[arg-type]


def test_a_number_that_is_none_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        generation_key(replace(REQUEST, sampling=Sampling(temperature=float("nan"))), 7)

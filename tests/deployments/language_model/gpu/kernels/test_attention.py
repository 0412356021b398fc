"""Embedding and attention."""

from __future__ import annotations

from dataclasses import replace

from tests.deployments.language_model.gpu.kernels.cases import Pair
from tests.deployments.language_model.gpu.kernels.comparisons import (
    compare_attention,
    compare_attention_to_text,
    compare_embeddings,
)


def test_an_embedding_is_that_of_plain_torch_to_the_bit(pair: Pair) -> None:
    compare_embeddings(pair)


def test_an_embedding_is_as_wide_as_several_blocks_and_a_part_of_one(even: Pair) -> None:
    compare_embeddings(Pair.of(replace(even.config, width=576, num_heads=9), even.compute))


def test_a_row_attends_to_its_own_positions_in_its_own_pages(pair: Pair) -> None:
    compare_attention(pair)


def test_a_row_attends_to_its_own_positions_in_a_step_of_short_generations(even: Pair) -> None:
    compare_attention(even, num_positions=128)


def test_a_row_attends_to_its_text_and_the_branch_without_one_to_nothing(pair: Pair) -> None:
    compare_attention_to_text(pair)

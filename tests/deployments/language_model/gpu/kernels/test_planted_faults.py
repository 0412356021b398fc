"""A fault in any kernel fails the comparison that is there for it. Ignored on a GPU: some read out of bounds."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from triton.runtime.errors import InterpreterError

from deployments.language_model.gpu import draws, kernels, product, triton_operations
from tests.deployments.language_model.gpu.kernels.cases import ODD, OUT_OF_BOUNDS, Pair
from tests.deployments.language_model.gpu.kernels.comparisons import (
    compare_added_products,
    compare_all_draws,
    compare_attention,
    compare_attention_to_text,
    compare_embeddings,
    compare_keys_and_values,
    compare_normed_products,
)

Comparison = Callable[[Pair], None]


def gelu(pair: Pair) -> None:
    compare_normed_products(pair, 3, 48, "as it is", "gelu")


def int8(pair: Pair) -> None:
    compare_added_products(pair, 17, 64, "int8")


def keys_and_values(pair: Pair) -> None:
    compare_keys_and_values(pair, "as it is")


class Fault(NamedTuple):
    """In a function of the kernels, `right` is replaced."""

    function: str
    right: str
    wrong: str
    comparison: Comparison


FAULTS = [
    Fault("embed", "codebook * VOCABULARY +", "codebook * (VOCABULARY - 1) +", compare_embeddings),
    Fault("embed", "position * WIDTH", "(position + 1) * WIDTH", compare_embeddings),
    Fault("attend_block", "positions < length", "positions < length + 1", compare_attention_to_text),
    Fault("attend_block", "positions < length", "positions <= length", compare_attention),
    Fault("attend_block", "positions // PAGE", "positions // (PAGE + 1)", compare_attention),
    Fault("attend_block", "HEADS * PAGE * HEAD_WIDTH", "0 * HEADS * PAGE * HEAD_WIDTH", compare_attention),
    Fault("attend", "* TABLE_ROW", "* 0", compare_attention),
    Fault("attend", "num_splits - 1", "num_splits", compare_attention),
    Fault("attend", "tl.store(arrivals + unit, 0)", "tl.store(arrivals + unit, 1)", compare_attention),
    Fault("attend", "factors * sums", "sums", compare_attention),
    Fault("attend_text", "slot), 0)", "slot), 1)", compare_attention_to_text),
    Fault("attend_text", "values * factor + next_values", "values + next_values", compare_attention_to_text),
    Fault("mean_and_scale", "delta * delta * (first * share)", "0.0", gelu),
    Fault("mean_and_scale", "mean += delta * share", "mean += delta", gelu),
    Fault("product", ", mask=present[:, None], other=0.0)\n        if", ")\n        if", gelu),
    Fault("product", "0.7071067811865476", "0.7", gelu),
    Fault("product", "total * tl.load(scales + columns)[None, :]", "total", int8),
    Fault("product", "total += tl.load(target", "total = tl.load(target", int8),
    Fault("product", "* 2 + part - 1", "* 2 + 2 - part", keys_and_values),
    Fault("product", "(position % PAGE)[:, None]", "(position % (PAGE - 1))[:, None]", keys_and_values),
    Fault("mix", "x >> 27", "x >> 28", compare_all_draws),
    Fault("gumbel", "tokens.to(tl.uint64) + 1", "tokens.to(tl.uint64)", compare_all_draws),
    Fault("order_of", "bits ^ _ALL", "bits", compare_all_draws),
    Fault("draw", "0) >= rank", "0) > rank", compare_all_draws),
    Fault("draw", "<= dropped_share", "< 0", compare_all_draws),
    Fault("draw", "other + (text - other)", "text + (text - other)", compare_all_draws),
    Fault("draw", "position - tl.load", "position + tl.load", compare_all_draws),
    Fault("draw", "tl.load(following) < 0", "tl.load(following) <= 0", compare_all_draws),
    Fault("draw", "(position + 1) * CODEBOOKS", "position * CODEBOOKS", compare_all_draws),
]
MODULES: dict[str, ModuleType] = {"draws": draws, "kernels": kernels, "products": product}


def functions_of(module: ModuleType) -> set[str]:
    return {name for name, value in vars(module).items() if getattr(value, "fn", module).__name__ == name}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fault], None]]:
    """Lets the kernels be launched from sources with a fault."""

    def replace_kernels(fault: Fault) -> None:
        name, module = next(each for each in MODULES.items() if fault.function in functions_of(each[1]))
        source, function = inspect.getsource(module), inspect.getsource(vars(module)[fault.function].fn)
        assert fault.right in function
        path = tmp_path / "faulty_kernels.py"
        path.write_text(source.replace(function, function.replace(fault.right, fault.wrong)))
        spec = importlib.util.spec_from_file_location("faulty_kernels", path)
        assert spec
        assert spec.loader
        faulty = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "faulty_kernels", faulty)
        spec.loader.exec_module(faulty)
        monkeypatch.setattr(triton_operations, name, faulty)

    return replace_kernels


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.function}: {fault.wrong}")
def test_a_planted_fault_is_found(fault: Fault, plant: Callable[[Fault], None]) -> None:
    pair = Pair.of(ODD, torch.float32)
    plant(fault)
    with pytest.raises((AssertionError, InterpreterError)) as found:
        fault.comparison(pair)
    assert isinstance(found.value, AssertionError) or OUT_OF_BOUNDS in str(found.value)


def test_every_function_of_the_kernels_has_a_planted_fault() -> None:
    functions = set().union(*map(functions_of, MODULES.values()))
    assert len(functions) == 10
    assert {fault.function for fault in FAULTS} == functions

"""Kernels that were compiled here and kernels that were loaded from numba's cache compute the same bits."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from deployments.language_model import cpu
from deployments.language_model.cpu import step
from deployments.language_model.cpu.decoder import Int8Decoder
from deployments.language_model.engine.engine import Engine
from tests.deployments.language_model.cpu.test_int8_decoder import teacher_forced
from tests.deployments.language_model.random_decoder import random_decoder, request, run

# Of LLVM: leave to regroup, fuse, invert or approximate.
_LEAVE = re.compile(r"\b(?:fadd|fsub|fmul|fdiv|frem|fneg|call)\b[^(%]*?\b(?:fast|reassoc|contract|arcp|afn)\b")


def kernels() -> dict[str, Any]:
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(cpu.__path__, f"{cpu.__name__}.")]
    return {f"{value.__module__}.{name}": value for m in modules for name, value in vars(m).items() if _compiled(value)}


def _compiled(value: object) -> bool:
    return isinstance(value, Dispatcher)


def show_bits(teacher_first: bool) -> None:
    """In a process of its own: what all ways into the kernels compute, as JSON. They are compiled as they are met."""
    decoder = random_decoder("int8", max_frames=128, num_threads=1)
    assert isinstance(decoder, Int8Decoder)
    early = teacher_forced(decoder, 7) if teacher_first else None
    guided, whole_step = [], decoder.step

    def step_and_keep(*arguments: Any) -> Any:
        draw = whole_step(*arguments)
        guided.append(draw.guided.numpy().copy())
        return draw

    decoder.step = step_and_keep  # type: ignore[method-assign]
    codes = run(Engine(decoder, num_slots=3, max_frames=64), request("a", num_frames=60), request("b", seed=3))
    logits = teacher_forced(decoder, 7) if early is None else early
    decoder.close()
    alone = np.linspace(-5, 5, 128, dtype=np.float32)
    out = np.zeros_like(alone)
    step.layer_norm(alone, np.stack([alone, alone]), out)
    shown = {
        "codes": _sum(codes["a"], codes["b"]),
        "guided": _sum(*guided),
        "logits": _sum(logits.numpy()),
        "norm": _sum(out),
        "loaded": sum(step.decode_and_draw.stats.cache_hits.values()),
        "with_leave": [
            name for name, kernel in kernels().items() if _LEAVE.search("".join(kernel.inspect_llvm().values()))
        ],
    }
    print(json.dumps(shown))


def _sum(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def bits(cache: Path, *, teacher_first: bool = False) -> dict[str, Any]:
    code = f"from {__name__} import show_bits; show_bits({teacher_first})"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    shown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return shown


def test_no_kernel_lets_the_compiler_choose_its_bits() -> None:
    found = kernels()
    assert {f"{step.__name__}.layer_norm", f"{step.__name__}.decode_and_draw"} <= set(found)
    assert not [name for name, kernel in found.items() if kernel.targetoptions.get("fastmath")]


@pytest.mark.parametrize(
    ("line", "leave"),
    [
        ("%.7 = fadd reassoc nsz arcp contract float %.5, %.6", True),
        ("%.7 = call contract float @llvm.fma.f32(float %.5, float %.6)", True),
        ("%.7 = tail call fast float @llvm.sqrt.f32(float %.5)", True),
        ("%.7 = fadd float %fast, %contract", False),
        ("call void @llvm.memcpy(ptr %contract)", False),
    ],
)
def test_leave_to_choose_is_found_in_what_llvm_is_given(line: str, leave: bool) -> None:
    assert bool(_LEAVE.search(line)) is leave


@pytest.mark.slow  # it compiles all kernels, twice
def test_compiled_or_loaded_and_in_whatever_order_the_bits_are_the_same(tmp_path: Path) -> None:
    compiled, loaded = bits(tmp_path / "cache"), bits(tmp_path / "cache")
    assert (compiled.pop("loaded"), loaded.pop("loaded")) == (0, 1)
    other_order = bits(tmp_path / "other", teacher_first=True)
    assert other_order.pop("loaded") == 0
    assert compiled == loaded == other_order
    assert compiled["with_leave"] == []

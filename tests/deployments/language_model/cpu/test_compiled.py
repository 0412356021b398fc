"""Kernels that were compiled here and kernels that were loaded from numba's cache compute the same bits."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from deployments.language_model import cpu
from deployments.language_model.cpu.decoder import Int8Decoder
from deployments.language_model.engine import Engine
from tests.deployments.language_model.cpu.test_int8_decoder import teacher_forced
from tests.deployments.language_model.random_decoder import random_decoder, request, run

_MAY_CHOOSE = re.compile(r"= (?:f(?:add|sub|mul|div|neg)|(?:\w+ )?call) (?:\w+ )*?(?:fast|reassoc|contract|arcp|afn)\b")


def kernels() -> Iterator[tuple[str, Dispatcher]]:
    for module in pkgutil.iter_modules(cpu.__path__, f"{cpu.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Dispatcher):
                yield f"{module.name}.{name}", value


def show_bits(mode: str) -> None:
    """Run in a process of its own. mode: compiled | loaded, which is checked. Prints the sums of all that is computed,
    by every way into the kernels; they are logits and codes.
    """
    kernels_first = mode == "kernels first"
    decoder = random_decoder("int8", max_frames=64, num_threads=1)
    assert isinstance(decoder, Int8Decoder)
    forced = [teacher_forced(decoder)] if kernels_first else []
    codes = run(Engine(decoder, num_slots=3, max_frames=64), request("a", num_frames=60), request("b", seed=3))
    forced = forced or [teacher_forced(decoder)]
    decoder.close()

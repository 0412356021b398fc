"""No test asserts how long a live process or event loop took: such a bound fails on a busy machine, and proves little.

Tests assert order or counts, or run in virtual time.

What stays allowed, as no load breaks it:

- A deadline of `GENEROUS_S` or more, in a polling loop or as a time-out: it only ends a hopeless wait.
- Virtual time: the loop's clock in modules that import `tests.virtual_time`.
- Order of clock readings: `before <= told <= after`, where `told` comes from what is tested.
- Lower bounds of a duration ("it waited at least so long"), and counts that may grow with it ("once a minute at most").
- Time-outs of clients of other programs (HTTP, SQLite): settings of one attempt.
- `ALLOWED`, each with its reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wall_clock import find, read

TESTS = Path(__file__).parent
ALLOWED = {
    ("serve_app/tenants/studio.py", "_hold"): "the pace of a scripted worker's heartbeats; nothing is asserted of it"
}


def found_in(source: str) -> list[str]:
    return [problem for _, _, problem in find(read({"tests.planted": source})["tests.planted"])]


HEAD = "import asyncio, time\nWAIT_S = 2.0\n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("began_s = time.monotonic()\n    f()\n    assert time.monotonic() - began_s < 1", "upper bound"),
        ("began_s = time.perf_counter()\n    took = time.perf_counter() - began_s\n    assert 1 > took", "upper bound"),
        (
            "loop = asyncio.get_running_loop()\n    began = loop.time()\n    assert loop.time() - began <= 3",
            "upper bound",
        ),
        ("began = time.time()\n    assert round(time.time() - began) == 1", "compared"),
        ("began = time.monotonic()\n    f()\n    assert time.monotonic() < began + WAIT_S", "a deadline of 2 s"),
        ("until = time.monotonic() + 5\n    while time.monotonic() < until:\n        f()", "a deadline of 5 s"),
        ("until, x = time.monotonic() + 5, 1\n    while f() and until > time.monotonic():\n        f()", "5 s"),
        ("asyncio.run(asyncio.wait_for(f(), 1))", "a time-out of 1 s"),
        ("p.communicate(timeout=10 * WAIT_S)", "a time-out of 20 s"),
        ("assert becomes(True, within_s=5)", "a time-out of 5 s"),
        (
            "async def scenario():\n        left = time.monotonic()\n        return time.monotonic() - left\n"
            "    assert asyncio.run(scenario()) < 1",
            "upper bound",
        ),
    ],
)
def test_a_bound_of_wall_clock_time_is_found(body: str, problem: str) -> None:
    [found] = found_in(f"{HEAD}def test_it():\n    {body}\n")
    assert problem in found


@pytest.mark.parametrize(
    "body",
    [
        "until = time.monotonic() + 60\n    while f():\n        assert time.monotonic() < until",
        "asyncio.run(asyncio.wait_for(f(), 30 * WAIT_S))",
        "before_s = time.time()\n    told_s = f()\n    assert before_s - 3 <= told_s <= time.time() + 1",
        "began_s = time.monotonic()\n    f()\n    assert time.monotonic() - began_s >= 1",
        "began_s = time.monotonic()\n    assert f() <= 1 + (time.monotonic() - began_s) // 60",
        "from tests.virtual_time import run\n    assert loop.time() - 0 < 3",
    ],
)
def test_order_generous_deadlines_and_virtual_time_are_left_alone(body: str) -> None:
    assert found_in(f"{HEAD}def test_it():\n    {body}\n") == []


def test_what_another_module_times_is_found() -> None:
    timer = "import time\ndef timed(f):\n    began = time.monotonic()\n    f()\n    return time.monotonic() - began\n"
    user = "from tests.timer import timed\ndef test_it():\n    took_s = timed(print)\n    assert took_s < 5\n"
    [(function, line, problem)] = find(read({"tests.timer": timer, "tests.test_user": user})["tests.test_user"])
    assert (function, line, problem) == ("test_it", 4, "a duration has an upper bound")


def test_no_test_bounds_the_time_that_something_takes() -> None:
    paths = {".".join(path.relative_to(TESTS.parent).with_suffix("").parts): path for path in TESTS.rglob("*.py")}
    modules = read({name: path.read_text() for name, path in paths.items()})
    assert len(modules) > 200
    found = {}
    for name, module in modules.items():
        for function, line, problem in find(module):
            found[str(paths[name].relative_to(TESTS)), function] = f"line {line}: {problem}"
    assert {place: problem for place, problem in found.items() if place not in ALLOWED} == {}
    assert ALLOWED.keys() <= found.keys(), "allowed, and not there any more"

"""Finds assertions about how long a live process or event loop took; `test_no_wall_clock.py` says which are allowed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

GENEROUS_S = 30.0

_CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time", "clock_gettime"}
_CLOCKS |= {f"{name}_ns" for name in _CLOCKS}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# Calls that wait, and the place of the time-out where it needs no keyword.
_WAITS = {"wait_for": 1, "timeout": 0}
_WAITS |= dict.fromkeys(("wait", "result", "join", "communicate", "wait_procs", "acquire", "get", "run"), 99)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Module:
    """A module of tests.

    Attributes:
        constants: the numbers that its names stand for, imported ones included.
        timers: functions that return how long something took, imported ones included.
    """

    tree: ast.Module
    constants: dict[str, float] = field(default_factory=dict)
    timers: set[str] = field(default_factory=set)

    @cached_property
    def in_virtual_time(self) -> bool:
        return any(
            isinstance(node, ast.ImportFrom)
            and (
                node.module == "tests.virtual_time" or (node.module == "tests" and node.names[0].name == "virtual_time")
            )
            for node in ast.walk(self.tree)
        )

    @cached_property
    def has_clock(self) -> bool:
        return any(map(self.is_reading, ast.walk(self.tree)))

    def is_reading(self, node: ast.AST) -> bool:
        """Whether this is a call of a clock."""
        if not isinstance(node, ast.Call):
            return False
        if isinstance(node.func, ast.Name):
            return node.func.id in _CLOCKS - {"time"}
        if not isinstance(node.func, ast.Attribute):
            return False
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "time":
            return node.func.attr in _CLOCKS
        return node.func.attr == "time" and not node.args and not self.in_virtual_time  # an event loop's

    def number(self, node: ast.AST | None) -> float | None:
        """What a constant expression is; None for any other."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return float(node.value)
        if isinstance(node, ast.Name):
            return self.constants.get(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right = self.number(node.left), self.number(node.right)
            return None if left is None or right is None else _ARITHMETIC[type(node.op)](left, right)
        return None


class _Names:
    """What the names in a function stand for: moments that a clock told, and durations between two of them."""

    def __init__(self, module: Module, function: ast.AST) -> None:
        self._module = module
        self._moments: dict[str, float | None] = {}
        self._durations: set[str] = set()
        nodes = list(ast.walk(function))
        if not module.timers and not (module.has_clock and any(map(module.is_reading, nodes))):
            return
        assigned = [(target, node.value) for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
        assigned += [
            (node.target, node.value)
            for node in nodes
            if isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None
        ]
        before = -1
        while before != (before := len(self._moments) + len(self._durations)):
            for target, value in assigned:
                self._assign(target, value)
            for node in nodes:
                if isinstance(node, _FUNCTIONS) and node is not function and self.returns_duration(node):
                    self._durations.add(node.name)

    def returns_duration(self, function: _Function) -> bool:
        """Nested functions' returns are their own."""
        waiting: list[ast.AST] = list(function.body)
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Return) and node.value is not None and self.is_duration(node.value):
                return True
            if not isinstance(node, (*_FUNCTIONS, ast.Lambda)):
                waiting.extend(ast.iter_child_nodes(node))
        return False

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=False):
                self._assign(one, its)
        elif isinstance(target, ast.Name):
            if self.is_duration(value):
                self._durations.add(target.id)
            elif self.is_moment(value):
                self._moments.setdefault(target.id, self.added(value))

    def is_moment(self, node: ast.AST) -> bool:
        return any(
            self._module.is_reading(each) or (isinstance(each, ast.Name) and each.id in self._moments)
            for each in ast.walk(node)
        )

    def is_duration(self, node: ast.AST) -> bool:
        return any(
            (isinstance(each, ast.Name) and each.id in self._durations | self._module.timers)
            or (
                isinstance(each, ast.BinOp)
                and isinstance(each.op, ast.Sub)
                and self.is_moment(each.left)
                and self.is_moment(each.right)
            )
            for each in ast.walk(node)
        )

    def added(self, node: ast.AST) -> float | None:
        """The seconds that a moment lies after the reading it is made of, where it is made so."""
        if isinstance(node, ast.Name):
            return self._moments.get(node.id)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return next((n for n in map(self._module.number, (node.right, node.left)) if n is not None), None)
        return None


def functions(tree: ast.Module) -> Iterator[_Function]:
    """Those of the module and of its classes; nested ones belong to them."""
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield each


def find(module: Module) -> Iterator[tuple[str, int, str]]:
    """Function, line, and what is wrong there."""
    for function in functions(module.tree):
        names = _Names(module, function)
        for node in ast.walk(function):
            if isinstance(node, ast.Assert | ast.While) and (module.has_clock or module.timers):
                for problem in _bounds(names, node.test):
                    yield function.name, node.lineno, problem
            elif isinstance(node, ast.Call) and not module.in_virtual_time:
                time_out = _time_out(module, node)
                if time_out is not None and 0 < time_out < GENEROUS_S:
                    yield function.name, node.lineno, f"a time-out of {time_out:g} s"


def _bounds(names: _Names, test: ast.expr) -> Iterator[str]:
    for compare in (node for node in ast.walk(test) if isinstance(node, ast.Compare)):
        for (left, right), op in zip(pairwise([compare.left, *compare.comparators]), compare.ops, strict=True):
            if isinstance(op, ast.Eq) and (names.is_duration(left) or names.is_duration(right)):
                yield "a duration is compared"
            less, more = (right, left) if isinstance(op, ast.Gt | ast.GtE) else (left, right)
            if not isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                continue
            if names.is_duration(less):
                yield "a duration has an upper bound"
            elif names.is_moment(less) and names.is_moment(more):
                added = names.added(more)
                if added is not None and 0 < added < GENEROUS_S:
                    yield f"a deadline of {added:g} s"


def _time_out(module: Module, call: ast.Call) -> float | None:
    """The seconds after which a call raises or gives up."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    for each in call.keywords:
        if each.arg == "within_s" or (each.arg == "timeout" and name in _WAITS):
            return module.number(each.value)
    position = _WAITS.get(name, len(call.args))
    return module.number(call.args[position]) if position < len(call.args) else None


def read(sources: Mapping[str, str]) -> dict[str, Module]:
    """The modules, by name, with what they import from one another."""
    modules = {name: Module(ast.parse(source)) for name, source in sources.items()}
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                number = module.number(node.value)
                if number is not None:
                    module.constants[node.targets[0].id] = number
    for _ in range(3):  # imports of what was imported, and timers that call timers
        for module in modules.values():
            for node in module.tree.body:
                if isinstance(node, ast.ImportFrom) and node.module in modules:
                    origin = modules[node.module]
                    for alias in node.names:
                        if alias.name in origin.constants:
                            module.constants[alias.asname or alias.name] = origin.constants[alias.name]
                        if alias.name in origin.timers:
                            module.timers.add(alias.asname or alias.name)
            if module.has_clock or module.timers:
                named = ((each, _Names(module, each)) for each in functions(module.tree))
                module.timers |= {each.name for each, names in named if names.returns_duration(each)}
    return modules

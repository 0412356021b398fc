"""Packages and files import each other in no circle, rooms stay small, and names are plain words."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.test_imports import ROOT, imported

TREES = ("serve_app", "deployments", "loadtests", "etude")
# Trees whose rooms and words are bounded; what tests them mirrors them.
BOUNDED = ("serve_app", "deployments", "loadtests")
MAX_LINES = 300
MAX_MODULES_IN_A_FOLDER = 20
MAX_MODULES = 200

FORBIDDEN = {"attendance", "presence", "patience", "wakeup", "pulse", "heap", "departures", "gathering"}
FORBIDDEN |= {"audience", "enclosed", "lasting", "listened", "asked"}
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

Graph = Mapping[str, set[str]]


def name_of(path: Path) -> str:
    """`serve_app.api.app` of `serve_app/api/app.py`; a package's own name of its `__init__.py`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read(trees: Iterable[str]) -> dict[Path, str]:
    """The text of each module below the trees, by its path from the project's root."""
    return {path.relative_to(ROOT): path.read_text() for tree in trees for path in sorted((ROOT / tree).rglob("*.py"))}


@cache
def names_in(source: str, inside: str) -> frozenset[str]:
    """As `imported`; parsed once for all graphs."""
    return frozenset(imported(source, inside))


def file_graph(sources: Mapping[Path, str]) -> Graph:
    """By module, the modules among these that it imports."""
    modules = {name_of(path): path for path in sources}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        inside = f"{module}.__init__" if path.name == "__init__.py" else module
        graph[module] = {name for name in names_in(sources[path], inside) if name in modules and name != module}
        # `from package import module` names both, and needs the second.
        graph[module] -= {name for name in graph[module] if _only_names_modules(sources[path], inside, name, modules)}
    return graph


def _only_names_modules(source: str, inside: str, package: str, modules: Iterable[str]) -> bool:
    """Whether all that is imported from this package are modules in it."""
    names = {name for name in names_in(source, inside) if name.startswith(f"{package}.")}
    directly = {name for name in names if name.count(".") == package.count(".") + 1}
    return bool(directly) and directly <= set(modules)


def package_graph(graph: Graph) -> Graph:
    """The same between rooms: `serve_app.api`, `deployments.checkpoints`, and files beside them."""
    packages: dict[str, set[str]] = defaultdict(set)
    for module, names in graph.items():
        packages[room(module)] |= {room(name) for name in names} - {room(module)}
    return packages


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def circles(graph: Graph) -> list[set[str]]:
    """Groups of nodes that all reach each other, by their strongly connected components (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for name in graph.get(node, ()):
            if name not in order:
                visit(name)
            if name in stack:
                lowest[node] = min(lowest[node], lowest[name])
        if lowest[node] == order[node]:
            first = stack.index(node)
            group = set(stack[first:])
            del stack[first:]
            if len(group) > 1:
                found.append(group)

    for node in graph:
        if node not in order:
            visit(node)
    return found


def named(sources: Mapping[Path, str], *, functions: bool) -> Iterator[tuple[str, str]]:
    """Where, and the name of each module, class and, if told, function."""
    for path, source in sources.items():
        yield str(path), path.stem
        for node in ast.walk(ast.parse(source)):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(node, ast.ClassDef) or (functions and is_function):
                yield f"{path}:{node.lineno}", node.name


def forbidden_in(name: str) -> set[str]:
    """The forbidden words among the parts of `snake_case` or `CamelCase`."""
    return {part.lower() for part in _PART.findall(name)} & FORBIDDEN


@pytest.fixture(scope="module")
def sources() -> dict[Path, str]:
    return read(TREES)


def test_no_files_import_each_other_in_a_circle(sources: dict[Path, str]) -> None:
    graph = file_graph(sources)
    assert len(graph) > 200
    assert sum(map(len, graph.values())) > 500
    assert circles(graph) == []


def test_no_packages_import_each_other_in_a_circle(sources: dict[Path, str]) -> None:
    graph = package_graph(file_graph(sources))
    assert {"serve_app.api", "deployments.language_model", "etude.text"} <= set(graph)
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("path", "line", "of", "circle"),
    [
        ("serve_app/job.py", "from serve_app.database import job_table", file_graph, "serve_app.job"),
        ("serve_app/errors.py", "import serve_app.graph", file_graph, "serve_app.errors"),
        (
            "deployments/checkpoints/sources.py",
            "def late():\n    from deployments.language_model.deployment import LanguageModel",
            lambda sources: package_graph(file_graph(sources)),
            "deployments.checkpoints",
        ),
        (
            "etude/text/facts.py",
            "from etude import wire",
            lambda sources: package_graph(file_graph(sources)),
            "etude.wire",
        ),
    ],
)
def test_a_planted_circle_is_found(
    sources: dict[Path, str], path: str, line: str, of: Callable[[Mapping[Path, str]], Graph], circle: str
) -> None:
    planted = {**sources, Path(path): f"{sources[Path(path)]}\n{line}\n"}
    assert any(circle in group for group in circles(of(planted)))


def test_circles_are_those_that_are_there() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    two = circles({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}})
    assert sorted(map(sorted, two)) == [["a", "b"], ["c", "d"]]


def test_a_package_is_imported_for_its_own_names_and_not_for_its_modules() -> None:
    texts = {
        Path("p/__init__.py"): "x = 1",
        Path("p/a.py"): "from p import b",
        Path("p/b.py"): "from p import x",
        Path("p/c.py"): "from . import b\nfrom .a import y",
    }
    assert file_graph(texts) == {"p": set(), "p.a": {"p.b"}, "p.b": {"p"}, "p.c": {"p.a", "p.b"}}


def test_no_module_is_long_and_no_folder_crowded() -> None:
    rooms = read((*BOUNDED, *(f"tests/{tree}" for tree in BOUNDED)))
    long = {str(path): len(text.splitlines()) for path, text in rooms.items()}
    assert {path: number for path, number in long.items() if number > MAX_LINES} == {}
    crowds = Counter(str(path.parent) for path in rooms)
    assert {folder: number for folder, number in crowds.items() if number > MAX_MODULES_IN_A_FOLDER} == {}


def test_the_service_has_at_most_two_hundred_modules(sources: dict[Path, str]) -> None:
    numbers = Counter(path.parts[0] for path in sources)
    assert numbers["serve_app"] + numbers["deployments"] <= MAX_MODULES, numbers


def test_no_module_class_or_function_has_a_name_that_needs_explaining() -> None:
    everything = [
        *named(read(BOUNDED), functions=True),
        *named(read(f"tests/{tree}" for tree in BOUNDED), functions=False),
    ]
    assert {where: name for where, name in everything if forbidden_in(name)} == {}


@pytest.mark.parametrize("name", ["Audience", "CallerAttendance", "_asked", "PATIENCE_S", "is_enclosed", "HTTPPulse"])
def test_a_forbidden_word_is_found_in_any_spelling(name: str) -> None:
    assert forbidden_in(name)


@pytest.mark.parametrize("name", ["heapq", "basked", "Presences", "everlastingly", "unmasked_rows"])
def test_a_word_that_contains_a_forbidden_one_is_left_alone(name: str) -> None:
    assert not forbidden_in(name)

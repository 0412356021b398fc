"""docs/images/packages.svg: which package imports which, from the imports themselves.

A box is a package of `serve_app` or `deployments`, or a module that stands in no package. Each imports from lower rows only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("serve_app", "deployments")

_WIDTH, _BOX_HEIGHT, _GAP, _ROW_GAP, _MARGIN = 960, 30, 10, 14, 20
_PX_PER_CHAR, _PADDING = 7.2, 20

_STYLE = """\
<style>
  text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328; text-anchor: middle }
  .legend { font: 13px system-ui, sans-serif; text-anchor: start }
  rect { fill: #eaf2ff; stroke: #5b7fb8; rx: 5 }
  rect.deployments { fill: #eaf7ea; stroke: #5c9a62 }
  line { stroke: #8c959f; stroke-dasharray: 2 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    rect { fill: #16263d; stroke: #6f9be0 }
    rect.deployments { fill: #142b18; stroke: #69b271 }
    line { stroke: #6e7681 }
  }
</style>
"""


def units(root: Path = ROOT) -> Mapping[str, Set[str]]:
    """By unit, as `serve_app/api`, the units that its files import."""
    files = [
        (path, ".".join(path.relative_to(root).with_suffix("").parts))
        for top in TOPS
        for path in sorted((root / top).rglob("*.py"))
        if path.name != "__init__.py" or path.parent != root / top
    ]
    known = {unit_of(module) for _, module in files}
    graph: dict[str, set[str]] = {unit: set() for unit in sorted(known)}
    for path, module in files:
        unit = unit_of(module)
        found = {unit_of(each) for each in _imported(path.read_text(encoding="utf-8"), module)}
        graph[unit] |= (found & known) - {unit}
    return graph


def unit_of(module: str) -> str:
    """`serve_app.api.routes.music` → `serve_app/api`; `serve_app.errors` → `serve_app/errors`."""
    return "/".join(module.split(".")[:2])


def _imported(source: str, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*parents, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def layers(graph: Mapping[str, Set[str]]) -> Sequence[Sequence[str]]:
    """Rows from the top; a unit imports from rows below its own only. Raises: ValueError for a circle."""
    under_way: list[str] = []

    @cache
    def height(unit: str) -> int:
        if unit in under_way:
            raise ValueError(f"a circle of imports: {' → '.join([*under_way[under_way.index(unit) :], unit])}")
        under_way.append(unit)
        below = max((height(each) for each in sorted(graph[unit])), default=-1)
        under_way.pop()
        return below + 1

    rows: dict[int, list[str]] = {}
    for unit in sorted(graph):
        rows.setdefault(height(unit), []).append(unit)
    return [sorted(rows[number], reverse=True) for number in sorted(rows, reverse=True)]


def packages_diagram() -> str:
    """The picture."""
    drawn, y = [], _MARGIN + 24
    for row in layers(units()):
        lines = list(_wrapped(row))
        for line in lines:
            x = (_WIDTH - sum(map(_box_width, line)) - _GAP * (len(line) - 1)) / 2
            for unit in line:
                drawn.append(_box(unit, x, y))
                x += _box_width(unit) + _GAP
            y += _BOX_HEIGHT + _GAP
        y += _ROW_GAP - _GAP
        drawn.append(f'<line x1="{_MARGIN}" y1="{y}" x2="{_WIDTH - _MARGIN}" y2="{y}"/>')
        y += _ROW_GAP
    drawn.pop()
    height = y - _ROW_GAP
    legend = "Each box imports from lower rows only. Blue: serve_app. Green: deployments, which imports nothing of serve_app."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'role="img">\n<title>The packages, and what each may import</title>\n'
        f'{_STYLE}<text class="legend" x="{_MARGIN}" y="{_MARGIN + 4}">{escape(legend)}</text>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def _wrapped(row: Sequence[str]) -> Iterator[list[str]]:
    """Lines of boxes that fit."""
    line: list[str] = []
    for unit in row:
        if line and sum(map(_box_width, [*line, unit])) + _GAP * len(line) > _WIDTH - 2 * _MARGIN:
            yield line
            line = []
        line.append(unit)
    yield line


def _box_width(unit: str) -> float:
    return len(unit) * _PX_PER_CHAR + _PADDING


def _box(unit: str, x: float, y: float) -> str:
    width = _box_width(unit)
    return (
        f'<rect class="{unit.split("/")[0]}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BOX_HEIGHT}"/>'
        f'<text x="{x + width / 2:.1f}" y="{y + 19}">{escape(unit)}</text>'
    )

"""Whatever writes into the log, found in a source."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

_WRITES = {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "handle"}
_A_LOG = re.compile(r"(^|_)log(ger|ging)?$")


@dataclass
class Calls:
    """tellings: of events. beside: what goes around them, by line. loggers: their names."""

    tellings: list[ast.Call] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)
    loggers: list[str] = field(default_factory=list)


def found_calls(source: str) -> Calls:
    """A logger is known by its name, so what keeps one under another name goes around the events, too."""
    found = Calls()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "logging":
            # Levels are no way to write.
            found.beside += [node.lineno for alias in node.names if not alias.name.isupper()]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _makes_a_logger(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.beside += [node.lineno for each in targets if not _A_LOG.search(_last_word(each))]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            _look_at(node, node.func, found)
    return found


def _look_at(call: ast.Call, called: ast.Attribute, found: Calls) -> None:
    receiver = called.value
    if _makes_a_logger(call):
        found.loggers += [str(each.value) for each in call.args if isinstance(each, ast.Constant)]
    if called.attr == "tell" and any(
        isinstance(each, ast.Name) and each.id.isupper() for each in (receiver, *call.args)
    ):
        found.tellings.append(call)
    elif (called.attr in _WRITES and (_A_LOG.search(_last_word(receiver)) or _makes_a_logger(receiver))) or (
        called.attr == "warn" and _last_word(receiver) == "warnings"
    ):
        found.beside.append(call.lineno)


def _makes_a_logger(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and _last_word(node.func) == "getLogger"


def _last_word(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")

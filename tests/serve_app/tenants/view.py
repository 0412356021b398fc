"""An answer as it is compared between two houses: without what is drawn or told by a clock."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

from tests.serve_app.tenants.house import Followed
from tests.serve_app.tenants.studio import pcm_of

# Drawn seeds are below 2^53, and hardly ever below this.
_NUM_GIVEN_SEEDS = 2**20
_HEX = re.compile("[0-9a-f]{32}")
_BY_THE_CLOCK = {"x-request-id", "server-timing", "x-ratelimit-reset", "retry-after", "age"}
_MOMENTS = {"created_at", "started_at", "ended_at", "queued_s", "running_s"}

Answer = httpx.Response | Followed


class Names:
    """What one tenant was told of ids and seeds in one house, each named by when it was first told."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def told(self) -> set[str]:
        """All of them, as they are."""
        return set(self._names)

    def of(self, drawn: str) -> str:
        return self._names.setdefault(drawn, f"<{len(self._names)}>")

    def within(self, text: str) -> str:
        """The text with its ids named."""
        return _HEX.sub(lambda match: self.of(match[0]), text)

    def of_seed(self, seed: int) -> str:
        return str(seed) if seed < _NUM_GIVEN_SEEDS else self.of(str(seed))


def bare(answer: Answer) -> tuple[object, ...]:
    """All of it, byte for byte, but for the request's own name."""
    status = answer.status if isinstance(answer, Followed) else answer.status_code
    headers = answer.headers if isinstance(answer, Followed) else answer.headers.multi_items()
    return status, [each for each in headers if each[0] != "x-request-id"], answer.content


def view(answer: Answer, names: Names) -> object:
    """What a tenant is shown: status, headers, content."""
    if isinstance(answer, Followed):
        headers, content, status = httpx.Headers(answer.headers), answer.content, answer.status
    else:
        headers, content, status = answer.headers, answer.content, answer.status_code
    return status, _headers(headers, names), _content(headers, content, names)


def _headers(headers: httpx.Headers, names: Names) -> dict[str, str]:
    shown = {}
    for name, value in headers.multi_items():
        if name in _BY_THE_CLOCK:
            shown[name] = "by the clock"
        elif name == "x-seed":
            shown[name] = names.of_seed(int(value))
        elif name == "content-disposition":
            shown[name] = re.sub("-[0-9a-f]{8}[.]", "-id.", value)
        elif name != "content-length" or headers["content-type"] == "audio/pcm":
            shown[name] = names.within(value)
    return shown


def _content(headers: httpx.Headers, content: bytes, names: Names) -> object:
    kind = headers.get("content-type")
    if kind == "audio/pcm":
        return _sound(headers, content)
    if kind == "application/json" and content:
        return _named(json.loads(content), names)
    if kind is not None and kind.startswith("text/event-stream"):
        events = re.findall(r"event: (\w+)\ndata: (.*)\n\n", content.decode())
        return [(event, _named(json.loads(data), names)) for event, data in events]
    assert not content
    return None


def _sound(headers: httpx.Headers, content: bytes) -> str:
    """Whether it is the music that its seed makes; then nothing is left to compare."""
    whole = pcm_of(int(headers["x-seed"]), int(headers["x-duration-ms"]))
    first, end = 0, len(whole)
    if "content-range" in headers:
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers["content-range"])
        assert part is not None
        assert int(part[3]) == len(whole)
        first, end = int(part[1]), int(part[2]) + 1
    assert int(headers["content-length"]) == end - first
    assert content in (whole[first:end], b"")
    return "its music" if content else "none"


def _named(value: Any, names: Names) -> Any:
    if isinstance(value, dict):
        return {key: _field(key, each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    return names.within(value) if isinstance(value, str) else value


def _field(key: str, value: Any, names: Names) -> Any:
    if value is None:
        return None
    if key in _MOMENTS:
        return "by the clock"
    if key == "sound":  # of the music, which is another one with a seed that is drawn
        return sorted(value)
    return names.of_seed(value) if key == "seed" else _named(value, names)

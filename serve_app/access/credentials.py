"""What a request shows of an API key: `Authorization: Bearer KEY` or `xi-api-key: KEY`."""

from __future__ import annotations

from collections.abc import Iterable

_AUTHORIZATION = b"authorization"
_API_KEY = b"xi-api-key"
_SCHEME = b"bearer "
HEADERS = frozenset({_AUTHORIZATION, _API_KEY})

Header = tuple[bytes, bytes]


def presented(headers: Iterable[Header]) -> bytes:
    """The one key that the headers show; empty where they show none, a header twice, or two that differ.

    headers: as ASGI has them. Any bytes will do, and what comes back need not be a key.
    """
    shown = [(name.lower(), value.strip(b" \t")) for name, value in headers if name.lower() in HEADERS]
    keys = {_key(name, value) for name, value in shown}
    if len(keys) != 1 or len({name for name, _ in shown}) != len(shown):
        return b""
    return keys.pop()


def without(headers: Iterable[Header]) -> list[Header]:
    """The other headers: whoever handles the request further needs no key, and can't lose it."""
    return [each for each in headers if each[0].lower() not in HEADERS]


def _key(name: bytes, value: bytes) -> bytes:
    if name == _API_KEY:
        return value
    return value[len(_SCHEME) :].lstrip(b" ") if value[: len(_SCHEME)].lower() == _SCHEME else b""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.auth import keys as credentials

Headers = list[tuple[bytes, bytes]]

NAMES = st.sampled_from([b"authorization", b"Authorization", b"xi-api-key", b"XI-API-KEY", b"accept"]) | st.binary()
KEYS = st.sampled_from([b"k", b"K", b"mgs_0_1"])
VALUES = (
    st.binary() | KEYS | st.builds(b"".join, st.tuples(st.sampled_from([b"Bearer ", b"bEARER  ", b"Basic "]), KEYS))
)


def reference(headers: Headers) -> bytes:
    """As the rule is told: one of each header at most, and both the same."""
    bearer = [value.strip(b" \t") for name, value in headers if name.lower() == b"authorization"]
    plain = [value.strip(b" \t") for name, value in headers if name.lower() == b"xi-api-key"]
    if len(bearer) > 1 or len(plain) > 1:
        return b""
    if bearer:
        scheme, _, key = bearer[0].partition(b" ")
        key = key.lstrip(b" ") if scheme.lower() == b"bearer" else b""
        return key if not plain or plain[0] == key else b""
    return plain[0] if plain else b""


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_any_headers_show_one_key_or_none(headers: Headers) -> None:
    assert credentials.presented_key(headers) == reference(headers)
    rest = credentials.without_credentials(headers)
    assert credentials.presented_key(rest) == b""
    assert [each for each in headers if each in rest] == rest


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([(b"authorization", b"Bearer k")], b"k"),
        ([(b"Authorization", b"bearer  k ")], b"k"),
        ([(b"xi-api-key", b"k")], b"k"),
        ([(b"xi-api-key", b"k"), (b"authorization", b"Bearer k")], b"k"),
        ([], b""),
        ([(b"authorization", b"k")], b""),
        ([(b"authorization", b"Basic k")], b""),
        ([(b"authorization", b"Basic a"), (b"xi-api-key", b"k")], b""),
        ([(b"authorization", b"Bearer a"), (b"xi-api-key", b"k")], b""),
        ([(b"xi-api-key", b"k"), (b"xi-api-key", b"k")], b""),
        ([(b"authorization", b"Bearer k"), (b"authorization", b"Bearer k")], b""),
    ],
)
def test_a_key_is_shown_in_either_header_and_in_no_other_way(headers: Headers, shown: bytes) -> None:
    assert credentials.presented_key(headers) == shown

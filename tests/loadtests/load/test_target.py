"""Load goes to this machine, or to one that was named."""

from __future__ import annotations

import pytest

from loadtests.load.target import checked_target


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.5.0.1", "http://127.5.0.1"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://[::1]:8000/music/", "http://[::1]:8000/music"),
        ("https://127.0.0.1", "https://127.0.0.1"),
    ],
)
def test_this_machine_is_a_target(url: str, checked: str) -> None:
    assert checked_target(url, []) == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.0.1",
        "http://0.0.0.0:8000",
        "http://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://[::ffff:192.168.0.1]",
    ],
)
def test_no_other_machine_is_one_unless_it_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="this machine only"):
        checked_target(url, ["other.example.com"])


def test_a_machine_that_is_named_is_a_target_however_it_is_spelt() -> None:
    assert checked_target("http://Music.example.com:80", ["music.Example.com"]) == "http://Music.example.com:80"


@pytest.mark.parametrize("url", [None, "", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://u:p@127.0.0.1"])
def test_what_is_no_address_is_told_what_one_looks_like(url: str | None) -> None:
    with pytest.raises(ValueError, match="address like"):
        checked_target(url, [])

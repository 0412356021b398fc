from __future__ import annotations

import pytest

from serve_app.auth.keys import PublicWithoutKeys, check_bind_address

LOOPBACK = ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST", "::ffff:127.0.0.1"]
PUBLIC = [
    "0.0.0.0",
    "::",
    "",
    "10.0.0.1",
    "192.168.1.2",
    "fe80::1",
    "::ffff:10.0.0.1",
    "music.example",
    "127.0.0.1.nip.io",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_without_keys_it_may_listen_on_loopback(host: str) -> None:
    check_bind_address(host, "none")


@pytest.mark.parametrize("host", PUBLIC)
def test_without_keys_it_may_not_listen_elsewhere_and_says_what_would_be_right(host: str) -> None:
    with pytest.raises(PublicWithoutKeys, match=r"host: 127\.0\.0\.1, or access\.keys: required"):
        check_bind_address(host, "none")


@pytest.mark.parametrize("host", [*LOOPBACK, *PUBLIC])
def test_with_keys_it_may_listen_anywhere(host: str) -> None:
    check_bind_address(host, "required")

from __future__ import annotations

import pytest

from tests.serve_app.api.service import call, service


@pytest.mark.parametrize("sent", ["a", "A.b_c-9", "x" * 128])
def test_a_fit_id_is_the_clients_own(sent: str) -> None:
    assert call(service(), "GET", "/health", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", [b"", b"x" * 129, b"a b", b"a\r\nb", b"\x1b[31m", b"\xe9", b"a/b", b"a\n"])
def test_an_unfit_id_is_replaced(sent: bytes) -> None:
    drawn = call(service(), "GET", "/health", headers={b"X-Request-Id": sent}).headers["X-Request-Id"]
    assert len(drawn) == 32
    assert int(drawn, 16) >= 0


def test_two_ids_are_none() -> None:
    headers = [("X-Request-Id", "a"), ("X-Request-Id", "a")]
    assert call(service(), "GET", "/health", headers=headers).headers["X-Request-Id"] != "a"


def test_every_request_without_an_id_gets_another() -> None:
    app = service()
    assert len({call(app, "GET", path).headers["X-Request-Id"] for path in ("/health", "/nowhere", "/health")}) == 3

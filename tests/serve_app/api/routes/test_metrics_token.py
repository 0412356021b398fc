from __future__ import annotations

import pytest
from pydantic import SecretStr

from serve_app.api.routes.operations import METRICS_TOKEN_VARIABLE, MetricsToken, WeakToken, metrics_token

SECRET = "0123456789abcdef"


@pytest.mark.parametrize("authorization", [f"Bearer {SECRET}", f"bearer {SECRET}", f"BEARER {SECRET}"])
def test_the_right_token_is_known(authorization: str) -> None:
    assert MetricsToken(SecretStr(SECRET)).is_presented(authorization.encode())


@pytest.mark.parametrize(
    "authorization",
    ["", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}0", f"Bearer {SECRET[:-1]}", "Bearer ", "Bearer \xff"],
)
def test_nothing_else_is(authorization: str) -> None:
    assert not MetricsToken(SecretStr(SECRET)).is_presented(authorization.encode("latin-1"))


@pytest.mark.parametrize("weak", ["", "short", "0123456789abcde", "0123456789abcde\n", "0123456789 abcdef", "ä" * 20])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused_without_being_repeated(weak: str) -> None:
    with pytest.raises(WeakToken, match="openssl rand") as caught:
        metrics_token({METRICS_TOKEN_VARIABLE: weak})
    assert not weak or weak not in str(caught.value)


def test_without_the_variable_there_is_no_token() -> None:
    assert metrics_token({}) is None

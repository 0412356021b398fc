"""Who may read the figures of the whole service: its operator, and no tenant."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from pydantic import SecretStr

VARIABLE = "MUSICGEN_METRICS_TOKEN"
MIN_CHARS = 16
_BEARER = b"bearer "


class WeakToken(ValueError):
    """The environment's token can't be one."""


class MetricsToken:
    """The secret that a reader shows, as `Authorization: Bearer TOKEN`."""

    def __init__(self, secret: SecretStr) -> None:
        """Raises: WeakToken for one that is short, or that a header can't carry; it is not repeated."""
        text = secret.get_secret_value()
        if len(text) < MIN_CHARS or not text.isascii() or not text.isprintable() or " " in text:
            raise WeakToken(
                f"{VARIABLE} has to be {MIN_CHARS} or more printable ASCII characters without a space, as "
                "`openssl rand -hex 32` makes them"
            )
        self._secret = text.encode("ascii")

    def is_shown(self, authorization: bytes) -> bool:
        """authorization: that header's value, empty where there is none. Takes as long for any wrong token."""
        scheme, shown = authorization[: len(_BEARER)], authorization[len(_BEARER) :]
        return hmac.compare_digest(shown, self._secret) and scheme.lower() == _BEARER


def token_of(environment: Mapping[str, str]) -> MetricsToken | None:
    """That of an environment; None where it has none. Raises: WeakToken."""
    text = environment.get(VARIABLE)
    return None if text is None else MetricsToken(SecretStr(text))

"""How a demonstration ends."""

from __future__ import annotations

import pytest

from loadtests.measuring.exit_status import exit_status
from serve_app.cli.terminal import Progress


class CannotBe(Exception):
    pass


@pytest.mark.parametrize(("shown", "status"), [(True, 0), (False, 1)])
def test_it_is_0_where_it_is_shown(shown: bool, status: int) -> None:
    assert exit_status(lambda _: shown) == status


@pytest.mark.parametrize(
    ("error", "status", "said"), [(CannotBe("no room here"), 1, "no room here"), (KeyboardInterrupt(), 130, "stopped")]
)
def test_why_it_ended_before_is_said(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: Progress) -> bool:
        raise error

    assert exit_status(fails, CannotBe) == status
    assert said in capsys.readouterr().out


def test_what_nobody_expected_travels() -> None:
    def fails(_: Progress) -> bool:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        exit_status(fails, CannotBe)

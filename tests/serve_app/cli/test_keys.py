"""The command that makes, lists and revokes keys: what it prints where, and that it keeps no secret."""

from __future__ import annotations

import logging
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve_app.auth import keys as key_text
from serve_app.cli import keys
from serve_app.cli.main import main


@dataclass
class Command:
    """file: the database. The clock goes on by a day at each call."""

    file: Path
    capsys: pytest.CaptureFixture[str]
    days: int = 0

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """The exit status and what it printed."""
        self.days += 1
        action, *rest = arguments
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keys, "now_s", lambda: self.days * 86_400.0)
            status = main(["keys", action, "--records", f"sqlite:///{self.file}", *rest])
        printed = self.capsys.readouterr()
        return status, printed.out, printed.err

    def make(self, tenant: str, *arguments: str) -> str:
        status, out, _ = self("make", "--tenant", tenant, *arguments)
        assert status == 0
        return out.removesuffix("\n")


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path / "records.sqlite", capsys)


def test_a_key_is_alone_on_standard_output_and_only_its_digest_is_kept(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        status, out, err = command("make", "--tenant", "blue", "--label", "the band's laptop")
    assert status == 0
    assert re.fullmatch(r"mgs_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n", out)
    key_id, secret = key_text.split_key(out.strip().encode())
    assert key_id in err
    assert secret.decode() not in err + caplog.text
    files = b"".join(path.read_bytes() for path in command.file.parent.iterdir())
    assert key_id.encode() in files
    assert secret not in files
    with sqlite3.connect(command.file) as database:
        assert database.execute("SELECT tenant, digest FROM api_keys").fetchall() == [
            ("blue", key_text.digest_of(secret))
        ]
    database.close()


def test_keys_are_listed_without_their_secrets(command: Command) -> None:
    assert command("list") == (0, "", "")
    blue, red = command.make("blue", "--label", "laptop"), command.make("red")
    assert command("revoke", red[4:20])[0] == 0
    lines = [
        f"{blue[4:20]}  blue  made 1970-01-03T00:00:00Z  live  laptop",
        f"{red[4:20]}  red  made 1970-01-04T00:00:00Z  revoked 1970-01-05T00:00:00Z",
    ]
    assert command("list") == (0, "\n".join(lines) + "\n", "")
    assert command("list", "--tenant", "red") == (0, lines[1] + "\n", "")
    assert command("list", "--tenant", "nobody") == (0, "", "")


def test_a_key_is_revoked_once_and_by_its_id(command: Command) -> None:
    key = command.make("blue")
    assert command("revoke", key[4:20]) == (0, "", f"The key {key[4:20]} is revoked.\n")
    status, out, err = command("revoke", key[4:20])
    assert (status, out) == (1, "")
    assert "no live key" in err
    status, out, err = command("revoke", key)
    assert (status, out) == (1, "")
    assert "16 hexadecimal digits" in err
    assert key[21:] not in err


@pytest.mark.parametrize("tenant", ["", "Blue", "-blue", "a b", "blue\n", "a" * 65, "ä"])
def test_a_tenants_name_is_plain(tenant: str, command: Command) -> None:
    for action in ("make", "list"):
        status, out, err = command(action, f"--tenant={tenant}")
        assert (status, out) == (1, "")
        assert "--tenant: a name is" in err


def test_a_label_can_be_printed(command: Command) -> None:
    for label in ("\x1b[2J", "a" * 201):
        status, out, err = command("make", "--tenant", "blue", "--label", label)
        assert (status, out) == (1, "")
        assert "--label: it is 200 printable characters" in err
        assert "\x1b" not in err


def test_the_database_is_the_deploy_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], project_root: Path
) -> None:
    deploy_file = tmp_path / "deploy.yaml"
    local = (project_root / "serve_app/configs/local.yaml").read_text()
    args = f"args:\n      records:\n        url: sqlite:///{tmp_path}/from-file.sqlite\n"
    deploy_file.write_text(re.sub(r"args:\n", args, local, count=1))
    assert main(["keys", "make", "--config", str(deploy_file), "--tenant", "blue"]) == 0
    assert (tmp_path / "from-file.sqlite").exists()
    capsys.readouterr()
    assert main(["keys", "list", "--config", str(tmp_path / "no.yaml")]) == 1
    assert "no.yaml: No such file" in capsys.readouterr().err


def test_a_database_that_is_none_or_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-77a1"
    for url, fault in (
        (f"mysql://user:{canary}@host/music", "mysql is not supported"),
        ("nonsense", "not a database's URL"),
        (f"postgresql+psycopg://user:{canary}@127.0.0.1:1/music", "127.0.0.1"),
    ):
        assert main(["keys", "list", "--records", url]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert fault in printed.err
        assert printed.err.count("\n") == 1
        assert canary not in printed.err


def test_without_an_action_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 2
    assert "make | list | revoke" in capsys.readouterr().err

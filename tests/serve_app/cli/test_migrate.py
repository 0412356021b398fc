"""The command that moves the records' tables says what it did, and what it can't do, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from serve_app.cli.main import main


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str, str]:
    status = main(["migrate", *arguments])
    captured = capsys.readouterr()
    return status, captured.out.strip(), captured.err.strip()


def test_tables_are_moved_and_it_is_said_from_where_to_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "records.sqlite"
    records = ["--records", f"sqlite:///{file}"]
    assert said(capsys, ["current", *records]) == (0, "base", "")
    assert not file.exists(), "a look has made it"
    assert said(capsys, ["up", "0001", *records]) == (0, f"{file}: from base to 0001", "")
    assert said(capsys, ["up", *records]) == (0, f"{file}: from 0001 to 0003", "")
    assert said(capsys, ["up", *records]) == (0, f"{file}: at 0003 already", "")
    assert said(capsys, ["current", *records]) == (0, "0003", "")
    assert said(capsys, ["down", "base", *records]) == (0, f"{file}: from 0003 to base", "")


def test_a_deploy_file_names_the_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(Path("serve_app/configs/local.yaml").read_text())
    config["applications"][0]["args"]["records"] = {"url": f"sqlite:///{tmp_path}/mine.sqlite"}
    file = tmp_path / "deploy.yaml"
    file.write_text(yaml.safe_dump(config))
    assert said(capsys, ["up", "--config", str(file)]) == (0, f"{tmp_path}/mine.sqlite: from base to 0003", "")


def test_what_cannot_be_done_is_told_with_what_would_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = ["--records", f"sqlite:///{tmp_path}/records.sqlite"]
    assert said(capsys, ["down", "0001", *records])[::2] == (
        1,
        "REVISION: it is at base, below 0001; `up 0001` brings it there",
    )
    said(capsys, ["up", *records])
    assert said(capsys, ["up", "0001", *records])[::2] == (
        1,
        "REVISION: it is at 0003, above 0001; `down 0001` takes it back",
    )
    status, _, error = said(capsys, ["up", "--records", "mysql://user:canary@host/x"])
    assert (status, "sqlite:///" in error, "canary" in error) == (1, True, False)
    status, _, error = said(capsys, ["current", "--records", "postgresql+psycopg://u:canary@127.0.0.1:1/x"])
    assert (status, "PostgreSQL at 127.0.0.1" in error, "canary" in error) == (1, True, False)
    status, _, error = said(capsys, ["up", "--config", str(tmp_path / "none.yaml")])
    assert (status, "none.yaml" in error) == (1, True)
    (tmp_path / "text").write_text("notes\n" * 1000)
    status, _, error = said(capsys, ["up", "--records", f"sqlite:///{tmp_path}/text"])
    assert (status, "not a database" in error) == (1, True)
    assert main(["migrate", "up", "9999", *records]) == 2
    assert "invalid choice: '9999' (choose from" in capsys.readouterr().err

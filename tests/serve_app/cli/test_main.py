"""The command as a whole: light, plain where nobody looks, and of one line where it is used wrongly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from serve_app.cli.main import main
from serve_app.cli.terminal import print_table, say
from tests.serve_app.api.jobs_reference import job_service
from tests.serve_app.api.service import service
from tests.serve_app.cli.service import Stepping, on_a_socket

COMMANDS = ("serve", "compose", "jobs", "models", "keys", "check", "migrate", "node")
LEAVES = [
    ["serve"], ["compose"], ["models"], ["check"],
    *(["jobs", each] for each in ("submit", "list", "follow", "cancel", "fetch")),
    *(["keys", each] for each in ("make", "list", "revoke")),
    *(["migrate", each] for each in ("current", "up", "down")),
    *(["node", each] for each in ("watch", "drain")),
]  # fmt: skip
ID = "0" * 32
# What nobody should have to wait for who only wants help or music.
HEAVY = ("torch", "ray", "transformers")


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f" {name} " in told for name in COMMANDS)
    assert "0 done; 1 it failed; 2 the command line is wrong" in told


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_an_example_the_exit_codes_and_json(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"Example: musicgen {' '.join(words)}" in told
    assert "Exit codes: 0 done" in told
    assert "--json" in told


def test_nothing_heavy_is_imported_for_what_should_be_quick() -> None:
    url = "--url=http://127.0.0.1:9"
    quick = [["--help"], ["compose", "x", url], ["models", url], ["jobs", "list", url], ["jobs", "submit", "x", url]]
    program = (
        "import json, sys\nfrom serve_app.cli.main import main\n"
        f"for words in {quick!r}:\n    main(words)\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(json.loads(run.stderr.splitlines()[-1])).isdisjoint(HEAVY)


def test_its_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"musicgen-serve {metadata.version('musicgen-serve')}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compse"], "No such command 'compse'. Did you mean 'compose'?"),
        (["compose"], "Missing argument"),
        (["compose", "a", "--sed", "1"], "No such option: --sed"),
        (["compose", "a", "--seed", "x"], "--seed"),
        (["jobs"], "jobs submit | list | follow | cancel | fetch"),
        (["jobs", "follow", "7"], "a job's id is 32 hexadecimal digits"),
        (["serve", "--once", "--no-clip"], "use one of them"),
        (["keys", "list", "--config", "a", "--records", "b"], "can't be used together with --config"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_one_line_that_says_what_would_be_right(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_alone_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "compose" in capsys.readouterr().out


def test_shells_can_complete_it() -> None:
    environment = {**os.environ, "_MUSICGEN_COMPLETE": "source_bash"}
    command = [sys.executable, "-m", "serve_app.cli.main"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "complete " in run.stdout
    assert "musicgen" in run.stdout


def test_models_are_a_line_each_or_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_socket(service()) as url:
        assert main(["models", "--url", url]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert main(["models", "--url", url, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [line.split()[0] for line in lines] == [model["name"] for model in document["models"]]
    assert any(line.split()[1] == "default" for line in lines)


class Terminal:
    """Standard output that says it is a terminal."""

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_a_table_and_no_color_where_none_is_wanted(
    no_color: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    with on_a_socket(service()) as url:
        monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
        assert main(["models", "--url", url]) == 0
    told = capsys.readouterr().out
    assert "licence" in told
    assert "─" in told
    if no_color:
        assert "\x1b[3" not in told


def test_what_is_typed_into_other_commands_is_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    print_table(("job", "words"), [(ID, "a slow waltz " * 10)])
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert ID in told
    assert all(len(line) <= 60 for line in told.splitlines())


def test_a_job_is_submitted_listed_followed_and_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> str:
        assert main([*words, "--url", url]) == 0
        return capsys.readouterr().out

    with on_a_socket(job_service(Stepping())) as url:
        job_id = told("jobs", "submit", "a tone", "--duration", "0.1", "--detach").strip()
        assert told("jobs", "list").split()[:2] == [job_id, "queued"]
        assert main(["jobs", "fetch", job_id, "--url", url]) == 1
        assert f"`musicgen jobs follow {job_id}` waits for its end" in capsys.readouterr().err
        assert json.loads(told("jobs", "follow", job_id, "--json"))["state"] == "succeeded"
        out = tmp_path / "clip.flac"
        assert told("jobs", "fetch", job_id, "--out", str(out)) == f"{out}\n"
        assert out.read_bytes()[:4] == b"fLaC"
        assert main(["jobs", "cancel", job_id, "--url", url]) == 1
        assert "the job has ended already (succeeded)" in capsys.readouterr().err
        assert json.loads(told("jobs", "list", "--json"))["generations"][0]["id"] == job_id


def test_a_job_under_way_is_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_socket(job_service(Stepping(stays=True))) as url:
        assert main(["jobs", "submit", "a tone", "--detach", "--json", "--url", url]) == 0
        job_id = json.loads(capsys.readouterr().out)["id"]
        assert main(["jobs", "cancel", job_id, "--url", url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
        assert main(["jobs", "follow", job_id, "--url", url]) == 1
        assert main(["jobs", "follow", ID, "--url", url]) == 1
        assert "no such generation" in capsys.readouterr().err


def test_what_a_service_sends_drives_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("words",), [("a\x1b[2Jb",)])
    say("c\x1b]0;x\x07d")
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


def test_checks_and_revisions_are_documents_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("http_option: {}\n")
    assert main(["check", "local", str(wrong), "--json"]) == 1
    right, other = json.loads(capsys.readouterr().out)["files"]
    assert (right["right"], other["right"]) == (True, False)
    assert "did you mean 'http_options'" in other["error"]
    records = ["--records", f"sqlite:///{tmp_path}/records.sqlite", "--json"]
    assert main(["migrate", "up", "0001", *records]) == 0
    assert json.loads(capsys.readouterr().out)["to"] == "0001"
    assert main(["migrate", "current", *records]) == 0
    assert json.loads(capsys.readouterr().out)["revision"] == "0001"
    assert main(["keys", "make", "--tenant", "blue", *records]) == 0
    made = json.loads(capsys.readouterr().out)
    assert main(["keys", "list", *records]) == 0
    [key] = json.loads(capsys.readouterr().out)["keys"]
    assert (key["id"], key["tenant"]) == (made["id"], "blue")
    assert main(["keys", "revoke", made["id"], *records]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": made["id"], "revoked": True}


def test_the_state_folder_is_where_the_database_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUSICGEN_STATE", "")
    assert main(["migrate", "up", "--state-dir", str(tmp_path)]) == 0
    assert str(tmp_path) in capsys.readouterr().out
    assert (tmp_path / "build" / "records.sqlite").exists()

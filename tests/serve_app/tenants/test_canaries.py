"""Secrets, and prompts that are to be redacted, come to light nowhere, whatever happens in the house."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import select

from serve_app.cli import main as command
from serve_app.database.schema import metadata
from serve_app.settings import sentence
from serve_app.settings.application import Settings
from tests.serve_app.api.asgi import DISCONNECT, Exchange, body, post_scope
from tests.serve_app.auth.clock import until
from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.house import FILE, KEYS, REVOKED, Followed, House, house
from tests.serve_app.tenants.listening import Lines, listening
from tests.serve_app.tenants.studio import DEADLY_SEED, FAILING_SEED, HELD_SEED

PROMPT = "canaryprompt4f1d"
PASSWORD = "canarypassword9c2e"
WRONG_KEY = "mgs_0123456789abcdef_canarywrongkey7b3a" + 27 * "a"
REDIS = f"redis://user:{PASSWORD}@127.0.0.1:1/0"
POSTGRESQL = f"postgresql+psycopg://user:{PASSWORD}@127.0.0.1:1/records"

BODY = {"prompt": PROMPT, "music_length_ms": 100}
# Whoever reads them must stumble over the prompt, or what stands beside it.
UNREADABLE: list[bytes] = [
    f'{{"prompt": "{PROMPT}"'.encode(),
    f'{{"prompt": "{PROMPT}", "prompt": "{PROMPT}"}}'.encode(),
    f'{{"prompt": "{PROMPT}\udcff"}}'.encode("utf-8", "surrogateescape"),
    f'"{PROMPT}"'.encode(),
    f'[{{"prompt": "{PROMPT}"}}]'.encode(),
    json.dumps({"prompt": [PROMPT]}).encode(),
    json.dumps({"prompt": PROMPT * 500}).encode(),
    json.dumps({"prompt": PROMPT * 50_000}).encode(),
    json.dumps({"prompt": f"{PROMPT}\x00\x1b"}).encode(),
    json.dumps({"prompt": f"{PROMPT}\ud800"}).encode(),
    *(
        json.dumps({**BODY, name: PROMPT}).encode()
        for name in ("music_length_ms", "model_id", "seed", "cache", "top_p")
    ),
    json.dumps({**BODY, "music_length_ms": 99_999}).encode(),
    json.dumps({**BODY, f"{PROMPT} field": 1}).encode(),
]


class Shown:
    """What came to light. own: to the tenant that sent the prompt, of its own music; others: all the rest."""

    def __init__(self) -> None:
        self.own: list[str] = []
        self.others: list[str] = []
        self.statuses: set[int] = set()

    def add(self, answer: httpx.Response | Followed) -> None:
        status, headers = (
            (answer.status, str(answer.headers))
            if isinstance(answer, Followed)
            else (answer.status_code, repr(answer.headers.multi_items()))
        )
        self.statuses.add(status)
        texts = self.own if status < 400 else self.others
        texts.extend((headers, answer.content.decode("latin-1")))


async def succeed(opened: House, shown: Shown) -> None:
    for path in ("/v1/music", "/v1/music/stream"):
        for cache in ("use", "use", "off"):
            shown.add(await opened.music("a", path, prompt=PROMPT, cache=cache))
    made = await opened.submit("a", {"Idempotency-Key": "one"}, prompt=PROMPT, seed=5)
    shown.add(made)
    await opened.work()
    path = made.headers["location"]
    shown.add(await opened.follow("a", f"{path}/events"))
    for method, suffix in (("GET", ""), ("GET", "/audio"), ("HEAD", "/audio"), ("DELETE", "")):
        shown.add(await opened.ask("a", method, path + suffix))
    await opened.settled()
    shown.add(await opened.ask("a", "GET", "/v1/generations"))


async def be_refused(opened: House, shown: Shown) -> None:
    keys = [opened.keys[REVOKED].text, WRONG_KEY, PASSWORD, opened.keys["a"].text + "x", ""]
    for key in keys:
        for headers in ({"xi-api-key": key}, {"authorization": f"Bearer {key}"}, {"authorization": f"Basic {key}"}):
            shown.add(await opened.ask(None, "POST", "/v1/music", headers=headers, json=BODY))
    for path in ("/v1/music", "/v1/music/stream", "/v1/generations"):
        for content in UNREADABLE:
            shown.add(await opened.ask("a", "POST", path, content=content))
        shown.add(await opened.ask("a", "POST", path, data={"prompt": PROMPT}))
        shown.add(await opened.ask("a", "POST", f"{path}?a%20{PROMPT}=1", json=BODY))
        shown.add(await opened.ask("a", "PUT", path, json=BODY))
    first = await opened.submit("a", {"Idempotency-Key": PROMPT}, prompt=PROMPT)
    shown.add(await opened.submit("a", {"Idempotency-Key": PROMPT}, prompt=PROMPT, seed=1))
    shown.add(await opened.submit("a", {"Idempotency-Key": f"{PROMPT}\x7f"}, prompt=PROMPT))
    shown.add(await opened.ask("a", "GET", f"/v1/generations/{PROMPT}"))
    shown.add(await opened.ask("a", "GET", f"/v1/generations?before={PROMPT}"))
    shown.add(await opened.ask("a", "GET", f"{first.headers['location']}/audio?output_format={PROMPT}"))
    shown.add(await opened.ask("a", "GET", f"{first.headers['location']}/events", headers={"Last-Event-ID": PROMPT}))
    shown.add(await opened.ask("b", "GET", first.headers["location"]))
    while shown.statuses.isdisjoint({429}):
        shown.add(await opened.submit("a", prompt=PROMPT))


async def fail(opened: House, shown: Shown) -> None:
    for seed in (FAILING_SEED, DEADLY_SEED):
        for path in ("/v1/music", "/v1/music/stream"):
            shown.add(await opened.music("a", path, prompt=PROMPT, seed=seed))
        made = await opened.submit("b", prompt=PROMPT, seed=seed)
        await opened.work()
        shown.add(await opened.ask("b", "GET", f"{made.headers['location']}/audio"))


async def leave(opened: House, shown: Shown) -> None:
    """A client hangs up, one is cut off in the middle, and a job is cancelled while it is made."""
    content = json.dumps({**BODY, "seed": HELD_SEED}).encode()
    key = [(b"xi-api-key", opened.keys["a"].text.encode())]
    for hang_up in (True, False):
        exchange = Exchange(body(content))
        asking = asyncio.create_task(exchange.run(opened.app, post_scope(key)))
        await until(lambda: opened.studio.num_held == 1)
        if hang_up:
            exchange.incoming.put_nowait(DISCONNECT)
        else:
            asking.cancel()
        await asyncio.wait({asking})
        await opened.settled()
    made = await opened.submit("b", prompt=PROMPT, seed=HELD_SEED)
    await opened.work()
    shown.add(await opened.ask("b", "DELETE", made.headers["location"]))
    await opened.settled()


async def lose_the_database(opened: House, shown: Shown, file: Path) -> None:
    """A folder stands where it was."""
    made = await opened.submit("b", prompt=PROMPT)
    put_folder_for(file)
    shown.add(await opened.submit("b", prompt=PROMPT))
    shown.add(await opened.ask("b", "GET", made.headers["location"]))
    shown.add(await opened.ask("b", "GET", "/v1/generations"))
    assert not await opened.gate.audit.flush()


def put_folder_for(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    file.mkdir()


def secret_of(key: str) -> str:
    return key.strip().split("_", 2)[2]


def hidden(opened: House) -> list[str]:
    """What must not be seen anywhere, but for the prompt."""
    secrets = [secret_of(opened.keys[name].text) for name in KEYS]
    return [*secrets, *(secret[:20] for secret in secrets), PASSWORD, "canarywrongkey"]


def found(canaries: Iterable[str], texts: Iterable[str]) -> list[str]:
    return [text for text in texts for canary in canaries if canary in text]


def rows(opened: House) -> list[tuple[str, dict[str, Any]]]:
    """All that the database has, by table."""
    with opened.database.reading() as connection:
        return [
            (table.name, dict(row._mapping))
            for table in metadata.sorted_tables
            for row in connection.execute(select(table))
        ]


def files(folder: Path) -> list[str]:
    """Names and contents."""
    return [f"{path} {path.read_bytes().decode('latin-1')}" for path in folder.rglob("*") if path.is_file()]


async def live(folder: Path, lines: Lines, shown: Shown) -> None:
    """All of it in one house, and then a look into every corner."""
    limits = {"storage": SecretStr(REDIS), "at_once": 50, "audio_s_per_minute": 500}
    async with house(folder, limits=limits, prompts="redacted", max_queued=5) as opened:
        secrets = hidden(opened)
        await succeed(opened, shown)
        await be_refused(opened, shown)
        await opened.work()
        await fail(opened, shown)
        await leave(opened, shown)
        assert await opened.gate.audit.flush()
        for table, row in rows(opened):
            if table == "jobs":
                assert row.pop("prompt") == PROMPT
                row.pop("idempotency_key")  # is the client's own
            assert not found([*secrets, PROMPT], [repr(row)]), table
        assert not found(secrets, files(folder))
        assert not found([PROMPT], files(folder / "kept"))
        assert found([PROMPT], files(folder)), "the search finds what is there"
        await lose_the_database(opened, shown, folder / FILE)
        shutil.rmtree(folder / FILE)
        assert not found([*secrets, PROMPT], lines.texts)
        assert not found([*secrets, PROMPT], shown.others)
        assert not found(secrets, shown.own)
        assert shown.statuses >= {200, 202, 204, 400, 401, 404, 405, 409, 413, 415, 422, 429, 500, 503}


def test_what_is_secret_or_redacted_comes_to_light_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    with listening() as lines:
        run(lambda: live(tmp_path, lines, shown))
    assert len(lines.events) > 100
    assert not found([PROMPT, PASSWORD, "canarywrongkey"], [*lines.texts, *capfd.readouterr()])


def test_a_database_that_is_not_there_takes_its_password_along(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = Shown()

    async def test() -> None:
        async with house(tmp_path, url=POSTGRESQL, prompts="redacted") as opened:
            for key in ("a", None):
                for path in ("/v1/music", "/v1/generations"):
                    shown.add(await opened.ask(key, "POST", path, json=BODY))
            shown.add(await opened.ask(None, "GET", "/ready"))
            assert not await opened.gate.audit.flush()
            shown.others.append(repr(opened.database))

    with listening() as lines:
        run(test)
    assert shown.statuses == {200, 503}
    assert any("PostgreSQL at 127.0.0.1" in event for event in lines.of_the_service)
    assert not found([PROMPT, PASSWORD], [*lines.texts, *shown.others, *capfd.readouterr()])


def test_limits_that_cannot_be_counted_tell_no_password(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = Shown()

    async def test() -> None:
        limits = {"storage": SecretStr(REDIS), "at_once": 1, "when_down": "closed"}
        async with house(tmp_path, limits=limits) as opened:
            for _ in range(12):
                shown.add(await opened.music("a", prompt=PROMPT))

    with listening() as lines:
        run(test)
    assert shown.statuses == {503}
    assert any("127.0.0.1:1" in event for event in lines.of_the_service)
    assert not found([PROMPT, PASSWORD], [*lines.texts, *shown.others, *capfd.readouterr()])


def test_settings_show_no_password_however_they_are_shown() -> None:
    model = {"scripted": {"source": "./scripted", "license": "CC0-1.0"}}
    args = {"models": model, "default_model": "scripted"}
    right = Settings.model_validate({**args, "records": {"url": POSTGRESQL}, "access": {"limits": {"storage": REDIS}}})
    assert right.records.resolved_url.password == PASSWORD
    texts = [repr(right), str(right), right.model_dump_json(), repr(right.model_dump()), repr(right.records.database)]
    wrong = [
        {**args, "records": {"url": f"mysql://user:{PASSWORD}@host/records"}},
        {**args, "records": {"url": f"{POSTGRESQL}?password={PASSWORD}"}},
        {**args, "records": {"url": f"user:{PASSWORD}"}},
        {**args, "records": {"url": POSTGRESQL, "lease_s": 1}},
        {**args, "access": {"limits": {"storage": f"http://user:{PASSWORD}@host"}}},
        {**args, "access": {"limits": {"storage": REDIS, "at_once": 0}}},
        {**args, "default_model": "other", "records": {"url": POSTGRESQL}},
    ]
    for each in wrong:
        with pytest.raises(ValidationError) as refused:
            Settings.model_validate(each)
        texts += [str(refused.value), repr(refused.value), sentence(refused.value)]
    assert not found([PASSWORD], texts)


def test_the_command_for_keys_shows_a_key_once_and_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"sqlite:///{tmp_path}/{FILE}"
    with listening() as lines:
        assert command.main(["keys", "make", "--records", database, "--tenant", "anna"]) == 0
        key, said = capsys.readouterr()
        assert secret_of(key) not in said
        assert command.main(["keys", "list", "--records", database]) == 0
        assert command.main(["keys", "revoke", "--records", database, key.split("_")[1]]) == 0
        assert command.main(["keys", "list", "--records", POSTGRESQL]) == 1
        assert command.main(["keys", "list", "--records", f"mysql://user:{PASSWORD}@host/records"]) == 1
    texts = [*capsys.readouterr(), *lines.texts, *files(tmp_path)]
    assert not found([PASSWORD, secret_of(key)], texts)

"""Nothing that a client or an operator writes breaks a line of the log, or begins one."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from serve_app.cli import main as command
from tests.serve_app.api.asgi import Exchange, body, post_scope
from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.house import FILE, House, house
from tests.serve_app.tenants.listening import listening

FORGED = 'request method=GET route=/v1/forged status=200 {"forged": true}'
# What ends a line, for somebody: terminals, editors, Python's splitlines; or moves the cursor.
BREAKS = ["\r", "\n", "\r\n", "\x1b[2J", "\x1b]0;", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x7f"]


def forgeries() -> list[str]:
    return [f"fine{each}{FORGED}" for each in BREAKS]


async def post(opened: House, path: str, content: bytes, **headers: bytes) -> Exchange:
    """As a server would hand it on that lets every byte pass; ours does not."""
    sent = [(b"xi-api-key", opened.keys["a"].text.encode())]
    sent += [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    exchange = Exchange(body(content))
    await exchange.run(opened.app, post_scope(sent, path))
    return exchange


async def forge(opened: House) -> None:
    content = json.dumps({"prompt": "a tone", "music_length_ms": 100}).encode()
    for forged in forgeries():
        raw = forged.encode()
        for path in ("/v1/music", "/v1/music/stream", "/v1/generations"):
            for name in ("prompt", "model_id", forged):
                refused = await post(opened, path, json.dumps({"prompt": "a tone", name: forged}).encode())
                assert refused.status in (200, 202, 422)
            answer = await post(opened, path, content, x_request_id=raw)
            assert raw not in answer.headers.values()
            assert all(b"\n" not in value and b"\r" not in value for value in answer.headers.values())
            await post(opened, path, content, content_type=raw)
            await post(opened, f"{path}/{forged}", content)
        refused = await post(opened, "/v1/generations", content, idempotency_key=raw)
        assert refused.status == 422
        exchange = Exchange(body(b""))
        scope = {**post_scope([(b"xi-api-key", raw)], f"/v1/{forged}"), "method": forged, "query_string": raw}
        await exchange.run(opened.app, scope)
        assert exchange.status == 401
    await opened.settled()
    await opened.work()
    await opened.settled()


def test_every_event_is_one_line_whatever_is_sent(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path, max_queued=1000) as opened:
            await forge(opened)

    with listening() as lines:
        run(test)
    assert sum(event.startswith("request ") for event in lines.of_the_service) > 100
    for event in lines.of_the_service:
        assert "forged" not in event
        assert not any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in event), repr(event)


def test_the_command_for_keys_takes_no_name_that_breaks_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"sqlite:///{tmp_path}/{FILE}"
    for forged in forgeries():
        assert command.main(["keys", "make", "--records", database, "--tenant", forged]) == 1
        assert command.main(["keys", "make", "--records", database, "--tenant", "anna", "--label", forged]) == 1
        assert command.main(["keys", "list", "--records", database, "--tenant", forged]) == 1
        assert command.main(["keys", "revoke", "--records", database, forged]) == 1
    told = capsys.readouterr().err
    assert "forged" not in told
    assert len(told.splitlines()) == len(told.split("\n")) - 1 == 4 * len(BREAKS)
    assert command.main(["keys", "list", "--records", database]) == 0
    assert capsys.readouterr().out == ""

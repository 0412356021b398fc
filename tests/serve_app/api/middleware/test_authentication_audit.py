"""What is written down of those who ask, and what is nowhere."""

from __future__ import annotations

import asyncio
import functools
import logging

import pytest

from tests.serve_app.api.asgi import Exchange, body, post_scope
from tests.serve_app.auth.clock import until
from tests.serve_app.auth.gates import House, house, run
from tests.serve_app.auth.stores import HeldKeys

CANARY = "canary-9d27"


def test_every_request_is_audited_with_who_what_and_what_became_of_it() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make("blue")
        async with house(keys=keys) as replica:
            answer = await replica.music(2.5, key.text)
            await replica.ask("GET", "/v1/nowhere", key.text)
            await replica.ask("CANARY", "/v1/who", key.text)
            await replica.ask("POST", "/v1/music?fail=true", key.text)
            await replica.ask("POST", "/v1/music", "wrong")
            records = await replica.audited()
            assert [(each.method, each.route, each.status) for each in records] == [
                ("POST", "/v1/music", 200),
                ("GET", "none", 404),
                ("other", "/v1/who", 405),
                ("POST", "/v1/music", 500),
                ("POST", "none", 401),
            ]
            first, last = records[0], records[-1]
            assert first.request_id == answer.headers["x-request-id"]
            assert (first.tenant, first.key_id, first.key_hash) == ("blue", key.id, key.digest.hex())
            assert (first.model, first.audio_s, first.prompt) == ("etude", 2.5, "canary-words")
            assert 0 <= first.seconds < 60
            assert (last.tenant, last.key_id, last.key_hash, last.audio_s) == ("", "", "", 0.0)

    run(test)


def test_who_hangs_up_is_audited_as_499_also_in_the_middle_of_the_answer() -> None:
    async def test() -> None:
        async with house() as replica:
            for path, is_under_way in (
                ("/v1/music?hold=true", lambda exchange: replica.num_inside == 1),
                ("/v1/stream/a", lambda exchange: len(exchange.sent) == 2),
            ):
                exchange = Exchange(body(b""))
                asking = asyncio.create_task(_ask_raw(replica, exchange, path))
                await until(functools.partial(is_under_way, exchange))
                asking.cancel()
                await asyncio.wait({asking})
            records = await replica.audited()
            assert [(each.route, each.status) for each in records] == [("/v1/music", 499), ("/v1/stream/{name}", 499)]
            assert records[1].generation == "g"

    run(test)


async def _ask_raw(replica: House, exchange: Exchange, path: str) -> None:
    path, _, query = path.partition("?")
    scope = {**post_scope(path=path), "method": "GET" if "stream" in path else "POST", "query_string": query.encode()}
    await exchange.run(replica.app, scope)


def test_secrets_and_redacted_prompts_are_in_no_log_no_record_no_error_and_no_settings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown: list[str] = []

    async def test() -> None:
        keys = HeldKeys()
        key = keys.make()
        limits = {"audio_s_per_minute": 5}
        url = f"redis://user:{CANARY}@127.0.0.1:1/0"
        async with house(keys=keys, limits=limits, redis_url=url, prompts="redacted") as replica:
            for presented in (key.text, CANARY, f"mgs_0123456789abcdef_{CANARY:a<43}", "", "\x7f" + CANARY):
                for path in ("/v1/music?seconds=1", "/v1/music?seconds=9", "/v1/music?fail=true", f"/v1/{CANARY}"):
                    answer = await replica.ask("POST", path, presented)
                    shown.extend((answer.text, str(answer.headers)))
            shown.append(repr(await replica.audited()))
            gate = replica.gate
            shown.extend((repr(gate.settings), gate.settings.model_dump_json(), repr(vars(gate)), repr(key)))
        secret = key.text.split("_", 2)[2]
        # The test's own client writes down what it asks for.
        logged = [record for record in caplog.records if record.name not in ("httpx", "httpcore")]
        shown.extend(logging.Formatter().format(record) for record in logged)
        everything = "".join(shown)
        for canary in (CANARY, "canary-words", secret, secret[:20]):
            assert canary not in everything

    with caplog.at_level(logging.DEBUG):
        run(test)

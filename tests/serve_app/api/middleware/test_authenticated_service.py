"""The service itself behind its door: keys, limits and the policy for prompts."""

from __future__ import annotations

from serve_app.api.app import create_app
from serve_app.settings.application import HttpSettings
from tests.serve_app.api.service import SineBackend, fault
from tests.serve_app.auth.gates import house, run
from tests.serve_app.auth.stores import HeldKeys


def test_the_service_itself_is_behind_it() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make("blue").text
        async with house(keys=keys, limits={"audio_s_per_minute": 2, "at_once": 1}) as replica:
            backend = SineBackend()
            replica.app = create_app(backend, HttpSettings(), gate=replica.gate)
            asked = {"prompt": "a tone", "music_length_ms": 900}
            for path in ("/v1/music", "/v1/music/stream"):
                assert fault(await replica.ask("POST", path, json=asked))["type"] == "unauthorized"
                answer = await replica.ask("POST", path, key, json=asked)
                assert answer.status_code == 200
                assert answer.headers["x-ratelimit-policy"] == "audio_s_per_minute"
            assert fault(await replica.ask("POST", "/v1/music", key, json=asked))["type"] == "over_limit"
            assert [each.scope for each in backend.requests] == ["blue"] * len(backend.requests)
            records = await replica.audited()
            assert [each.status for each in records] == [401, 200, 401, 200, 429]
            assert [each.audio_s for each in records] == [0, 0.9, 0, 0.9, 0]
            assert records[1].prompt == "a tone"
            assert records[1].generation is not None

    run(test)


def test_a_prompt_that_the_policy_refuses_is_made_by_nobody_and_charged_to_nobody() -> None:
    async def test() -> None:
        async with house(limits={"audio_s_per_minute": 1}, policy=f"{__name__}:no_anthems") as replica:
            backend = SineBackend()
            replica.app = create_app(backend, HttpSettings(), gate=replica.gate)
            for prompt, status in (("an anthem", 403), ("a waltz", 200)):
                asked = {"prompt": prompt, "music_length_ms": 1000}
                answer = await replica.ask("POST", "/v1/music", json=asked)
                assert answer.status_code == status
                if status == 403:
                    assert fault(answer) == {"type": "prompt_refused", "message": "No anthems.", "param": "prompt"}
            assert [each.prompt for each in backend.requests] == ["a waltz"]

    run(test)


def no_anthems(prompt: str, tenant: str) -> str | None:
    assert tenant == "local"
    return "No anthems." if "anthem" in prompt else None

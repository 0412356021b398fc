from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.api.schemas.music import MusicBody
from serve_app.settings.application import HttpSettings
from tests.serve_app.api.service import SineBackend, call, fault, service


def test_the_models_are_listed_with_their_licences() -> None:
    assert call(service(), "GET", "/v1/models").json() == {
        "models": [
            {
                "name": "etude",
                "default": True,
                "license": "MIT",
                "revision": None,
                "sample_rate": 32_000,
                "channels": 1,
                "max_music_length_ms": 30_000,
            },
            {
                "name": "small",
                "default": False,
                "license": "CC-BY-NC-4.0",
                "revision": "abc123",
                "sample_rate": None,
                "channels": None,
                "max_music_length_ms": 20_000,
            },
        ]
    }


def test_health_asks_nothing_of_the_backend() -> None:
    class Dead(SineBackend):
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    response = call(service(Dead.__new__(Dead)), "GET", "/health")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_ready_is_every_deployment_up() -> None:
    backend = SineBackend()
    response = call(service(backend), "GET", "/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "deployments": backend.deployments})


def test_not_ready_says_which_are_down() -> None:
    backend = SineBackend()
    backend.deployments |= {"language_model": False, "codec_decoder": False}
    response = call(service(backend), "GET", "/ready")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert fault(response) == {"type": "not_ready", "message": "Not up: codec_decoder, language_model.", "param": None}


def test_the_address_itself_leads_on_to_pages_that_exist() -> None:
    app = service()
    index = call(app, "GET", "/").json()
    assert index.pop("service") == "musicgen-serve"
    assert [call(app, "GET", path).status_code for path in index.values()] == [200, 200, 200]


def test_the_document_knows_the_models_and_every_field() -> None:
    document = call(service(), "GET", "/openapi.json").json()
    properties = document["components"]["schemas"]["MusicBody"]["properties"]
    assert list(properties) == list(MusicBody.model_fields)
    assert properties["model_id"]["anyOf"][0]["enum"] == ["etude", "small"]
    assert properties["music_length_ms"]["maximum"] == 30_000
    assert properties["seed"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
    operation = document["paths"]["/v1/music"]["post"]
    statuses = ["200", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503", "504"]
    assert sorted(operation["responses"]) == statuses
    assert list(operation["responses"]["200"]["content"]) == [
        "audio/wav",
        "audio/flac",
        "audio/mpeg",
        "audio/ogg",
        "audio/pcm",
    ]


@pytest.mark.parametrize(
    "settings", [{"max_body_byte": 1}, {"deadline_s": "1"}, {"deadline_s": 0}, {"deadline_s": float("inf")}]
)
def test_settings_are_strict(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HttpSettings(**settings)  # type: ignore[arg-type]

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from deployments.messages import Sampling
from serve_app.sound.containers import CONTAINER_FORMATS
from tests.serve_app.api.service import SAMPLE_RATE, SineBackend, call, compose, service, sine


def samples(response: httpx.Response) -> np.ndarray:
    """[N], float32."""
    data, sample_rate = soundfile.read(io.BytesIO(response.content), dtype="float32")
    assert sample_rate == SAMPLE_RATE
    return np.asarray(data)


def test_the_answer_is_the_backends_sound() -> None:
    backend = SineBackend()
    response = compose(service(backend), seed=7, music_length_ms=1_234)
    assert response.status_code == 200
    assert np.abs(samples(response) - sine(backend.requests[0]).pcm[0]).max() <= 1 / 32768


def test_the_headers_say_what_the_sound_is() -> None:
    response = compose(service(), seed=7, model_id="small", music_length_ms=250)
    headers = response.headers
    assert headers["content-type"] == "audio/wav"
    assert int(headers["content-length"]) == len(response.content)
    assert headers["x-seed"] == "7"
    assert headers["x-duration-ms"] == "250"
    assert headers["x-sample-rate"] == str(SAMPLE_RATE)
    assert headers["x-channels"] == "1"
    assert headers["x-model"] == "small"
    assert headers["x-model-license"] == "CC-BY-NC-4.0"
    assert [step.split(";")[0] for step in headers["server-timing"].split(", ")] == ["compose", "encode", "total"]


@pytest.mark.parametrize("name", [name for name, container in CONTAINER_FORMATS.items() if container.has_tags])
def test_the_file_says_the_same_as_the_headers(name: str) -> None:
    response = compose(service(), f"?output_format={name}", seed=2**64 - 1)
    with soundfile.SoundFile(io.BytesIO(response.content)) as file:
        facts = dict(fact.split("=") for fact in file.copy_metadata()["comment"].split("; "))
    assert facts == {
        "generation": response.headers["x-generation-id"],
        "seed": response.headers["x-seed"],
        "duration_ms": response.headers["x-duration-ms"],
        "model": response.headers["x-model"],
        "license": response.headers["x-model-license"],
    }


@pytest.mark.parametrize("name", list(CONTAINER_FORMATS))
def test_every_format_has_its_media_type_and_file_name(name: str) -> None:
    response = compose(service(), f"?output_format={name}", prompt="Slow, late-night JAZZ!", seed=1)
    container = CONTAINER_FORMATS[name]
    assert response.headers["content-type"] == container.media_type
    file_name = f"slow-late-night-jazz-{response.headers['x-generation-id'][:8]}.{container.extension}"
    assert response.headers["content-disposition"] == f'attachment; filename="{file_name}"'


@pytest.mark.parametrize("prompt", ["和風", '";\u2028../\\'])
def test_a_prompt_without_plain_words_still_names_a_file(prompt: str) -> None:
    disposition = compose(service(), prompt=prompt).headers["content-disposition"]
    assert disposition.startswith('attachment; filename="music-')


def test_pcm_is_the_samples_and_nothing_else() -> None:
    app = service()
    raw = compose(app, "?output_format=pcm", seed=1).content
    assert len(raw) == 2 * SAMPLE_RATE // 10
    assert np.array_equal(np.frombuffer(raw, "<i2") / np.float32(32768), samples(compose(app, seed=1)))


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "pcm"])
def test_the_same_body_with_the_same_seed_gives_the_same_bytes(name: str) -> None:
    query = f"?output_format={name}"
    first = compose(service(), query, seed=11)
    second = compose(service(), query, seed=11)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert second.content == first.content
    assert compose(service(), query, seed=12).content != first.content


def test_the_backend_gets_the_canonical_request() -> None:
    backend = SineBackend()
    response = compose(
        service(backend),
        prompt=" cafe\u0301 \n jazz",
        music_length_ms=50.0,
        seed=1e3,
        temperature=0,
        top_k=5,
        top_p=0.5,
        guidance_scale=1,
    )
    (asked,) = backend.requests
    assert asked.request_id == response.headers["x-request-id"]
    assert (asked.model, asked.prompt, asked.duration_ms, asked.seed) == ("etude", "café jazz", 50, 1_000)
    assert asked.sampling == Sampling(guidance_scale=1.0, temperature=0.0, top_k=5, top_p=0.5)
    assert type(asked.duration_ms) is type(asked.seed) is int


def test_a_bare_prompt_gets_ten_seconds_of_the_default_model_with_the_fields_defaults() -> None:
    backend = SineBackend()
    response = call(service(backend), "POST", "/v1/music", json={"prompt": "a", "seed": None, "model_id": None})
    (asked,) = backend.requests
    assert (asked.model, asked.duration_ms, asked.sampling) == ("etude", 10_000, Sampling(3.0, 1.0, 250, 0.0))
    assert len(samples(response)) == 10 * SAMPLE_RATE


def test_a_seed_is_drawn_where_there_is_none_and_repeats_the_sound() -> None:
    backend = SineBackend()
    app = service(backend)
    first, second = compose(app, cache="off"), compose(app, cache="off")
    assert [asked.seed for asked in backend.requests] == [None, None]
    assert first.headers["x-seed"] != second.headers["x-seed"]
    again = compose(app, seed=int(first.headers["x-seed"]))
    assert again.content == first.content


@pytest.mark.parametrize("change", [{"prompt": "b"}, {"seed": 4}, {"top_k": 9}, {"model_id": "small"}])
def test_the_generation_id_changes_with_all_that_decides_the_sound(change: dict[str, Any]) -> None:
    app = service()
    first = compose(app, seed=3).headers["x-generation-id"]
    assert compose(app, **{"seed": 3, **change}).headers["x-generation-id"] != first


@pytest.mark.parametrize("same", [{"prompt": " a  tone"}, {"top_p": 1}, {"music_length_ms": 90}, {"cache": "off"}])
def test_the_generation_id_is_the_same_for_the_same_music_however_long(same: dict[str, Any]) -> None:
    app = service()
    first = compose(app, seed=3).headers["x-generation-id"]
    assert compose(app, **{"seed": 3, **same}).headers["x-generation-id"] == first


def test_the_generation_id_is_the_beginning_of_the_generations_key() -> None:
    backend = SineBackend()
    named = compose(service(backend)).headers["x-generation-id"]
    assert len(named) == 32
    assert [key[:32] for key in backend.lengths_ms] == [named]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/json;",
    ],
)
def test_json_in_utf_8_is_taken_however_it_is_announced(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    content = json.dumps({"prompt": "é", "music_length_ms": 10}, ensure_ascii=False).encode()
    assert call(service(), "POST", "/v1/music", content=content, headers=headers).status_code == 200

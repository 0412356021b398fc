from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serve_app.api.service import SineBackend, call, fault, service

CANARY = "canary-7f3a"


def music(**fields: Any) -> bytes:
    return json.dumps({"prompt": "a", **fields}).encode()


def raw(field: str, value: str) -> bytes:
    """A body whose field has a value as written, valid JSON or not."""
    return f'{{"prompt": "a", "{field}": {value}}}'.encode()


MALFORMED = {
    "no body": (b"", None),
    "blank body": (b" \n", None),
    "not json": (f"prompt={CANARY}".encode(), None),
    "cut json": (b'{"prompt": "canary-7f3a', None),
    "invalid utf-8": (b'{"prompt": "\xff canary-7f3a"}', None),
    "utf-16": (music().decode().encode("utf-16"), None),
    "byte order mark": (b"\xef\xbb\xbf" + music(), None),
    "deep nesting": (b"[" * 60_000, None),
    "raw control character": (b'{"prompt": "canary-7f3a\x00"}', None),
}
NO_INTEGERS = [
    "0.5",
    "true",
    "null",
    '"5"',
    '"canary-7f3a"',
    "[1]",
    "{}",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1",
]
NO_NUMBERS = ["true", "null", '"5"', "[1]", "NaN", "Infinity", "1e999", "-0.1", "-1e999", "9" * 5_000]
INVALID = {
    "an array": (b"[]", None),
    "a string": (b'"canary-7f3a"', None),
    "null": (b"null", None),
    "no prompt": (b"{}", "prompt"),
    "duplicate keys": (b'{"prompt": "canary-7f3a", "prompt": "b"}', "prompt"),
    "nested duplicate keys": (b'{"prompt": {"x": 1, "x": 2}}', "x"),
    "unknown field": (music(canary_7=1), "canary_7"),
    "unknown field, not plain": (music(**{f"{CANARY} <b>": 1}), None),
    "unknown field, long": (music(**{CANARY * 1_000: 1}), None),
    "unknown field, surrogate": (b'{"\\ud800": 1, "prompt": "a"}', None),
    "unknown model": (music(model_id=CANARY), "model_id"),
    "blank model": (music(model_id=""), "model_id"),
    "model not a string": (music(model_id=3), "model_id"),
    "model of surrogates": (raw("model_id", '"\\ud800"'), "model_id"),
    **{f"prompt {value[:20]}": (f'{{"prompt": {value}}}'.encode(), "prompt") for value in ("3", "true", "null", "[]")},
    "empty prompt": (music(prompt=""), "prompt"),
    "blank prompt": (music(prompt=" \t\n\u3000"), "prompt"),
    "long prompt": (music(prompt=CANARY * 182), "prompt"),
    "absurdly long prompt": (music(prompt=CANARY * 4_000), "prompt"),
    "nul": (music(prompt=f"{CANARY}\x00"), "prompt"),
    "escape": (music(prompt=f"{CANARY}\x1b[31m"), "prompt"),
    "c1 control": (music(prompt=f"{CANARY}\x9b31m"), "prompt"),
    "lone surrogate": (b'{"prompt": "canary-7f3a \\ud800"}', "prompt"),
    "zero length": (raw("music_length_ms", "0"), "music_length_ms"),
    "too long": (raw("music_length_ms", "30001"), "music_length_ms"),
    "too long for its model": (music(music_length_ms=20_001, model_id="small"), "music_length_ms"),
    "huge length": (raw("music_length_ms", "9" * 5_000), "music_length_ms"),
    "huge float length": (raw("music_length_ms", "1e300"), "music_length_ms"),
    "top_k over the codebook": (raw("top_k", "2049"), "top_k"),
    "seed of 65 bits": (raw("seed", str(2**64)), "seed"),
    "huge seed": (raw("seed", "9" * 5_000), "seed"),
    "temperature too high": (raw("temperature", "10.01"), "temperature"),
    "top_p over 1": (raw("top_p", "1.0001"), "top_p"),
    "guidance_scale too high": (raw("guidance_scale", "100.5"), "guidance_scale"),
    **{
        f"{field} {value[:20]}": (raw(field, value), field)
        for field in ("music_length_ms", "top_k", "seed")
        for value in NO_INTEGERS
        if (field, value) != ("seed", "null")
    },
    **{
        f"{field} {value[:20]}": (raw(field, value), field)
        for field in ("temperature", "top_p", "guidance_scale")
        for value in NO_NUMBERS
    },
}


def refuse(status: int, param: str | None, path: str = "/v1/music", **request: Any) -> str:
    """Sends it, checks that nothing was begun and nothing is echoed, and returns the message."""
    backend = SineBackend()
    response = call(service(backend), "POST", path, **request)
    assert response.status_code == status, response.text
    error = fault(response)
    assert error["param"] == param
    assert CANARY not in response.text
    assert "canary-7f3a" not in str(response.headers)
    assert len(response.text) < 500
    assert not backend.requests
    return str(error["message"])


@pytest.mark.parametrize(("content", "param"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_body_is_a_400(content: bytes, param: str | None) -> None:
    refuse(400, param, content=content)


@pytest.mark.parametrize(("content", "param"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_body_is_a_422_that_names_the_field(content: bytes, param: str | None) -> None:
    message = refuse(422, param, content=content)
    if param in ("prompt", "music_length_ms", "model_id", "seed", "temperature", "top_k", "top_p", "guidance_scale"):
        assert "must" in message or "twice" in message


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("music_length_ms", 30_001, "from 1 to 30000"),
        ("top_k", 2_049, "from 0 to 2048"),
        ("seed", -1, "from 0 to 2^64 - 1"),
        ("temperature", 11, "from 0 to 10"),
        ("top_p", 2, "from 0 to 1"),
        ("guidance_scale", 101, "from 0 to 100"),
        ("model_id", "x", "one of: etude, small"),
        ("prompt", "", "must not be blank"),
        ("prompt", 1, "1 to 2000 characters"),
    ],
)
def test_the_message_says_what_would_be_right(field: str, value: object, rule: str) -> None:
    assert rule in refuse(422, field, content=music(**{field: value}))


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("music_length_ms", 1, 30_000),
        ("top_k", 0, 2_048),
        ("seed", 0, 2**64 - 1),
        ("temperature", 0, 10),
        ("top_p", 0, 1),
        ("guidance_scale", 0, 100),
    ],
)
def test_the_ends_of_a_range_are_in_it(field: str, low: int, high: int) -> None:
    for value in (low, high):
        body = {"prompt": "a", "music_length_ms": 10, field: value}
        assert call(service(), "POST", "/v1/music", json=body).status_code == 200


@pytest.mark.parametrize(
    ("field", "meant"),
    [("promt", "prompt"), ("Prompt", "prompt"), ("musicLengthMs", "music_length_ms"), ("top-k", "top_k")],
)
def test_an_unknown_field_near_a_known_one_is_told_so(field: str, meant: str) -> None:
    assert f'did you mean "{meant}"?' in refuse(422, field, content=music(**{field: 1}))


def test_an_unknown_field_near_none_is_told_all() -> None:
    assert "the fields are prompt, music_length_ms, model_id" in refuse(422, "xyz", content=music(xyz=1))


def test_a_mistyped_prompt_is_unknown_rather_than_missing() -> None:
    refuse(422, "promt", content=b'{"promt": "a"}')


@pytest.mark.parametrize("value", ["opus", "WAV", "", "wav,mp3", "mp3_44100_128", "%00", "wav%0d%0a", CANARY])
def test_an_unknown_format_is_told_the_list(value: str) -> None:
    message = refuse(422, "output_format", f"/v1/music?output_format={value}", content=music())
    assert message == "output_format must be one of: wav, flac, mp3, ogg, pcm."


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("output_format=wav&output_format=wav", "output_format"),
        ("output_format=wav&output_format=mp3", "output_format"),
        ("format=wav", "format"),
        ("output_format=wav&x=1", "x"),
        ("%3Cb%3E=1", None),
        ("canary-7f3a%20=1", None),
    ],
)
def test_a_query_of_anything_else_is_refused(query: str, param: str | None) -> None:
    refuse(422, param, f"/v1/music?{query}", content=music())


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Content-Type", "multipart/form-data; boundary=canary-7f3a"),
        ("Content-Type", "application/json; charset=latin-1"),
        ("Content-Type", "application/jsonp"),
        ("Content-Type", ""),
        ("Content-Encoding", "gzip"),
    ],
)
def test_another_media_type_is_a_415(header: str, value: str) -> None:
    refuse(415, header, content=music(), headers={header: value})


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/music", "POST"),
        ("OPTIONS", "/v1/music", "POST"),
        ("PUT", "/v1/music", "POST"),
        ("BREW", "/v1/music", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/health", "GET"),
        ("POST", "/ready", "GET"),
        ("POST", "/docs", "GET, HEAD"),
        ("POST", "/", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: str) -> None:
    response = call(service(), method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert fault(response)["type"] == "method_not_allowed"


def test_head_is_told_so_without_a_body_as_http_wants() -> None:
    response = call(service(), "HEAD", "/v1/music")
    assert (response.status_code, response.headers["allow"], response.content) == (405, "POST", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v1",
        "/v1/music/",
        "/v1/music/canary-7f3a",
        "/v1/../etc/passwd",
        "/%2e%2e/%2e%2e",
        "/%00",
        "/V1/music",
    ],
)
def test_a_wrong_path_is_a_404(path: str) -> None:
    response = call(service(), "GET", path)
    assert response.status_code == 404
    assert fault(response)["type"] == "not_found"
    assert CANARY not in response.text

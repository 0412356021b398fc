from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serve_app.api.service import call, fault, service

APP = service()
FIELDS = ("prompt", "music_length_ms", "model_id", "seed", "temperature", "top_k", "top_p", "guidance_scale", "cache")

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 10_000, 2_048, 2**63, 2**64, 10**400, "etude", "refresh", "off", "a"])
    | st.floats()
    | st.text()
)
values = st.recursive(scalars, lambda children: st.lists(children) | st.dictionaries(st.text(), children), max_leaves=8)
bodies = st.dictionaries(st.sampled_from(FIELDS) | st.text(), values, max_size=6) | values


def assert_answered(**request: Any) -> None:
    response = call(APP, "POST", "/v1/music", **request)
    if response.status_code == 200:
        assert response.headers["content-type"] == "audio/wav"
    else:
        assert response.status_code in (400, 415, 422)
        fault(response)


@given(bodies)
@settings(max_examples=300, deadline=None)
def test_any_json_is_answered_with_sound_or_an_error(document: object) -> None:
    assert_answered(content=json.dumps(document).encode())


@given(st.dictionaries(st.sampled_from(FIELDS[1:]), scalars, max_size=2))
@settings(max_examples=300, deadline=None)
def test_any_values_of_known_fields_are_answered_with_sound_or_an_error(fields: dict[str, object]) -> None:
    assert_answered(content=json.dumps({"prompt": "a", "music_length_ms": 10, **fields}).encode())


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_answered_with_an_error(content: bytes) -> None:
    assert_answered(content=content)


@given(st.binary(max_size=40), st.text(st.characters(max_codepoint=255), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_query_and_content_type_are_answered(query: bytes, content_type: str) -> None:
    assert_answered(
        params=[(query.decode("latin-1"), "x")],
        content=b'{"prompt": "a"}',
        headers={b"content-type": content_type.encode("latin-1")},
    )

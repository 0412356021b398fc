from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.text_encoder.deployment import TextEncoderDeployment
from deployments.text_encoder.encoder import RecentStates, TextEncoder
from tests.tiny import tiny_checkpoint


def states(value: int, num_tokens: int = 4) -> np.ndarray:
    return np.full((num_tokens, 8), value, np.float32)


def test_what_is_kept_is_found_and_cannot_be_changed() -> None:
    recent = RecentStates()
    recent.put("a", states(1))
    found = recent.get("a")
    assert found is not None
    assert np.array_equal(found, states(1))
    assert recent.get("b") is None
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 2


def test_the_least_recently_asked_for_goes_first() -> None:
    recent = RecentStates(max_bytes=2 * states(0).nbytes)
    recent.put("a", states(1))
    recent.put("b", states(2))
    recent.get("a")
    recent.put("c", states(3))
    assert [recent.get(prompt) is not None for prompt in "abc"] == [True, False, True]


def test_states_larger_than_the_limit_are_not_cached() -> None:
    recent = RecentStates(max_bytes=states(0).nbytes)
    recent.put("a", states(1, num_tokens=5))
    assert recent.get("a") is None
    recent.check_integrity()


@given(calls=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 6), st.booleans())))
def test_the_limit_holds_whatever_is_called(calls: list[tuple[str, int, bool]]) -> None:
    recent = RecentStates(max_bytes=10 * 8 * 4)
    for prompt, num_tokens, is_put in calls:
        if is_put:
            recent.put(prompt, states(0, num_tokens))
        else:
            recent.get(prompt)
        recent.check_integrity()


def test_a_prompt_asked_again_is_not_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode = TextEncoder.encode

    def counted(self: TextEncoder, prompts: list[str]) -> list[np.ndarray]:
        encoded.extend(prompts)
        return encode(self, prompts)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    deployment = TextEncoderDeployment(str(tiny_checkpoint(tmp_path / "tiny")), None)
    encoded.clear()

    async def scenario() -> None:
        first, other, again = [await deployment.encode(prompt) for prompt in ("jazz", "rock", "jazz")]
        assert np.array_equal(again, first)
        assert not np.array_equal(other[:1], first[:1])

    asyncio.run(scenario())
    deployment.check_health()
    assert encoded == ["jazz", "rock"]

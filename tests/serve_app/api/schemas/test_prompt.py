from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.schemas.parsing import MAX_PROMPT_CHARS, MAX_RAW_PROMPT_CHARS, PROMPT_PATTERN, canonical_prompt
from serve_app.errors import InvalidRequest

# Text in which the interesting characters are frequent.
texts = st.text(st.characters() | st.sampled_from(" \t\n\r\x00\x0b\x1f\x85\xa0\u0301\u200b\u2028\u3000\ufeff\ud800éÅ"))


def slow_reference(text: str) -> str | None:
    """Character by character, as the rule reads; None is refused."""
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in ("\t", "\n", "\r"):
            return None
        if unicodedata.category(character) == "Cs" or character == "\ufeff":
            return None
    words: list[str] = [""]
    for character in unicodedata.normalize("NFC", text):
        if character.isspace():
            words.append("")
        else:
            words[-1] += character
    prompt = " ".join(word for word in words if word)
    visible = [character for character in prompt if unicodedata.category(character) not in ("Zs", "Cf")]
    return prompt if visible and len(prompt) <= MAX_PROMPT_CHARS else None


def canonical_or_none(text: str) -> str | None:
    try:
        return canonical_prompt(text)
    except InvalidRequest:
        return None


@given(texts)
def test_it_is_what_the_rule_says_character_by_character(text: str) -> None:
    assert canonical_or_none(text) == slow_reference(text)


@given(texts)
def test_the_canonical_form_is_its_own(text: str) -> None:
    prompt = canonical_or_none(text)
    assert prompt is None or canonical_prompt(prompt) == prompt


@given(texts)
def test_whatever_passes_matches_the_published_pattern(text: str) -> None:
    assert canonical_or_none(text) is None or re.search(PROMPT_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("  slow\t\tjazz \r\n piano  ", "slow jazz piano"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u3000和\u00a0風", "和 風"),
        ("👩\u200d🎤 sings", "👩\u200d🎤 sings"),
        ("x" * MAX_PROMPT_CHARS, "x" * MAX_PROMPT_CHARS),
        ("e\u0301" * MAX_PROMPT_CHARS, "\u00e9" * MAX_PROMPT_CHARS),
        ("a" + " " * (MAX_RAW_PROMPT_CHARS - 2) + "b", "a b"),
    ],
)
def test_the_same_words_have_one_form(text: str, prompt: str) -> None:
    assert canonical_prompt(text) == prompt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "blank"),
        (" \t\r\n\u3000", "blank"),
        ("\u200b\u2060", "blank"),
        ("x" * (MAX_PROMPT_CHARS + 1), "at most 2000"),
        (" " * (MAX_RAW_PROMPT_CHARS + 1), "at most 2000"),
        ("a\x00b", "control"),
        ("a\x1bb", "control"),
        ("a\x0bb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("a\ud800b", "surrogates"),
        ("\ufeffa", "byte order"),
    ],
)
def test_what_is_no_prompt_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        canonical_prompt(text)
    assert caught.value.param == "prompt"

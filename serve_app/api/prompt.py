"""The canonical form of a prompt: what the model reads, and what the same prompt means."""

from __future__ import annotations

import unicodedata

from serve_app.api.errors import InvalidRequest

MAX_CHARS = 2_000
# Normalising takes time quadratic in a run of combining marks: 0.1 s for this many, 1.5 s for a full body.
MAX_RAW_CHARS = 4 * MAX_CHARS

# Refused: C0, DEL and C1 but for tab, line feed and carriage return; U+FEFF, which is a byte order mark gone astray;
# lone surrogates. Other invisible characters have their uses (emoji and Persian are spelt with joiners) and pass.
_CONTROLS = ((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0xFEFF, 0xFEFF))
_SURROGATES = (0xD800, 0xDFFF)
_FORBIDDEN = frozenset(chr(code) for low, high in (*_CONTROLS, _SURROGATES) for code in range(low, high + 1))
_INVISIBLE_CATEGORIES = frozenset({"Zs", "Cf"})

# The same in the regular expressions of JSON Schema, whose strings have no lone surrogates.
_CONTROLS_CLASS = "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in _CONTROLS)
PATTERN = f"^[^{_CONTROLS_CLASS}]*[^{_CONTROLS_CLASS}\\s][^{_CONTROLS_CLASS}]*$"


def canonical_prompt(text: str) -> str:
    """NFC, every run of white space one space, none at the ends; 1 to 2,000 characters (code points).

    Raises InvalidRequest for a prompt that is longer, shows nothing, or holds a control character, a lone surrogate or
    U+FEFF.
    """
    if len(text) > MAX_RAW_CHARS:
        raise _refused(f"prompt must be at most {MAX_CHARS} characters.")
    if not _FORBIDDEN.isdisjoint(text):
        raise _refused("prompt must be text without control characters, lone surrogates or byte order marks.")
    prompt = " ".join(unicodedata.normalize("NFC", text).split())
    if len(prompt) > MAX_CHARS:
        raise _refused(f"prompt must be at most {MAX_CHARS} characters.")
    if _INVISIBLE_CATEGORIES.issuperset(map(unicodedata.category, prompt)):
        raise _refused("prompt must not be blank: describe the music in words.")
    return prompt


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="prompt")

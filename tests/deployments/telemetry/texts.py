"""Texts of people who want to forge a line."""

from __future__ import annotations

from hypothesis import strategies as st

# What ends a line for somebody, moves a cursor, turns the direction of writing, or is no text at all.
NASTY = [
    "\r", "\n", "\r\n", "\x1b[2J", "\x1b]0;", "\x00", "\x07", "\x08", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x7f",
    "\x85", "\x9b", "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069", "\u200b", "\u200f", "\ufeff",
    "\ud800", "\udfff", "\U000e0001",
]  # fmt: skip
FORGED = 'INFO 2026-11-29 07:00:00,000 musicgen_ingress ab12 -- request {"event": "request", "status": 200}'

texts = st.lists(
    st.one_of(st.text(st.characters()), st.sampled_from(NASTY), st.just(FORGED), st.sampled_from('\\"{}%s')), max_size=8
).map("".join)

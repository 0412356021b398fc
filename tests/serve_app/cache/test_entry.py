"""Entries: what was kept comes back, or it is told that it doesn't."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serve_app.cache.entry import (
    MAX_HEAD_BYTES,
    VERSION,
    BrokenEntry,
    Cached,
    CachedAlias,
    CachedCodes,
    CachedSound,
    NewerEntry,
    Packed,
    is_newer,
    pack,
    unpack,
)
from serve_app.cache.keys import Key
from tests.serve_app.cache.cached import key

CODES = CachedCodes(np.arange(-4, 4, dtype=np.int16).reshape(4, 2), "x86_64 torch 2.13", 1_700_000_000.25)
ALIAS = CachedAlias(2**64 - 1, 1_700_000_000.25)
SOUND = CachedSound(b"RIFF....WAVE", "audio/wav", 32_000, 2, 1_500, 1_700_000_000.25)
EACH = [(key(1, "codes"), CODES), (key(1, "alias"), ALIAS), (key(1, "sound"), SOUND)]

times = st.floats(0, 4e9)
all_codes = hnp.arrays(np.int16, st.tuples(st.integers(1, 8), st.integers(0, 40)))
all_kept = st.one_of(
    st.builds(CachedCodes, all_codes, st.text(max_size=60), times),
    st.builds(CachedAlias, st.integers(0, 2**64 - 1), times),
    st.builds(CachedSound, st.binary(), st.text(max_size=20), st.integers(1), st.integers(1), st.integers(0), times),
)


def key_for(kept: Cached) -> Key:
    kinds = {CachedCodes: "codes", CachedAlias: "alias", CachedSound: "sound"}
    return key("some", kinds[type(kept)])  # type: ignore[arg-type]


def same(one: Cached, other: Cached) -> bool:
    if isinstance(one, CachedCodes) and isinstance(other, CachedCodes):
        return np.array_equal(one.codes, other.codes) and replace(one, codes=other.codes) == other
    return one == other


def in_one_piece(packed: Packed) -> bytes:
    return packed.head + packed.body


@given(all_kept)
def test_what_was_packed_comes_back(kept: Cached) -> None:
    packed = pack(key_for(kept), kept)
    assert same(unpack(key_for(kept), packed), kept)
    split = Packed.split(in_one_piece(packed))
    assert (split.head, split.body) == (packed.head, packed.body)
    assert same(unpack(key_for(kept), split), kept)


@given(all_kept, st.data())
def test_every_cut_and_every_changed_byte_is_noticed(kept: Cached, data: st.DataObject) -> None:
    whole = in_one_piece(pack(key_for(kept), kept))
    place = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
    for broken in (whole[:place], changed, whole + b"x"):
        with pytest.raises(BrokenEntry):
            unpack(key_for(kept), Packed.split(broken))


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_it_raise_anything_else(data: bytes) -> None:
    with pytest.raises(BrokenEntry):
        unpack(key("some"), Packed.split(data))


@pytest.mark.parametrize(("under", "kept"), EACH)
def test_an_entry_under_anothers_key_is_broken(under: Key, kept: Cached) -> None:
    packed = pack(under, kept)
    with pytest.raises(BrokenEntry, match="checksum"):
        unpack(key(2, under.kind), packed)


def as_version(packed: Packed, version: int) -> Packed:
    preamble = struct.pack(">4sHH", b"MGSe", version, len(packed.head))
    return replace(packed, head=preamble + zlib.crc32(preamble).to_bytes(4, "big") + packed.head[12:])


@pytest.mark.parametrize(("under", "kept"), EACH)
def test_a_newer_entry_is_told_from_a_broken_one(under: Key, kept: Cached) -> None:
    packed = pack(under, kept)
    newer = as_version(packed, VERSION + 1)
    with pytest.raises(NewerEntry, match="version 2, and this program knows up to 1"):
        unpack(under, newer)
    assert is_newer(newer)
    assert not is_newer(packed)
    # A flipped bit does not make an entry that nobody may delete.
    flipped = replace(packed, head=packed.head[:5] + bytes([VERSION + 2]) + packed.head[6:])
    assert not is_newer(flipped)
    with pytest.raises(BrokenEntry):
        unpack(under, flipped)
    with pytest.raises(BrokenEntry):
        unpack(under, as_version(packed, 0))


def test_the_format_is_as_documented() -> None:
    under, kept = EACH[0]
    whole = in_one_piece(pack(under, kept))
    magic, version, head_size, crc = struct.unpack_from(">4sHHI", whole)
    assert (magic, version, crc) == (b"MGSe", 1, zlib.crc32(whole[:8]))
    described, body = whole[44:head_size], whole[head_size:]
    assert whole[12:44] == hashlib.sha256(f"codes/{under.digest}\n".encode() + described + body).digest()
    assert json.loads(described) == {
        "kind": "codes", "created_s": 1_700_000_000.25, "numerics": "x86_64 torch 2.13", "codebooks": 4, "frames": 2,
    }  # fmt: skip
    assert struct.unpack("<8h", body) == tuple(range(-4, 4))


def test_the_body_of_sound_is_the_file() -> None:
    packed = pack(*EACH[2])
    assert (packed.body, packed.media_type) == (SOUND.sound, "audio/wav")


@pytest.mark.parametrize(
    ("under", "kept", "said"),
    [
        (key(1, "alias"), CODES, "CachedCodes is not what is kept under a key of alias"),
        (key(1), replace(CODES, codes=CODES.codes.astype(np.int32)), r"must be int16 \[codebooks, frames\], not int32"),
        (key(1), replace(CODES, codes=CODES.codes.ravel()), r"not int16 \[8\]"),
        (key(1), replace(CODES, created_s=float("inf")), "finite"),
        (key(1), replace(CODES, numerics="x" * MAX_HEAD_BYTES), "may take 1408 bytes, and this takes"),
    ],
)
def test_what_is_no_entry_is_refused_before_it_is_kept(under: Key, kept: Cached, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pack(under, kept)

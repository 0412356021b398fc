from __future__ import annotations

import numpy as np
import pytest

from etude.judges.tensor_bundle import read_bundle

MAGIC = bytes.fromhex("57fb808b247547db")


def varint(number: int) -> bytes:
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def entry(shape: tuple[int, ...], offset: int, size: int, kind: int = 1) -> bytes:
    dimensions = b""
    for extent in shape:
        dimension = b"\x08" + varint(extent)
        dimensions += b"\x12" + varint(len(dimension)) + dimension
    message = b"\x08" + varint(kind) + b"\x12" + varint(len(dimensions)) + dimensions
    return message + b"\x20" + varint(offset) + b"\x28" + varint(size) + b"\x35\x01\x02\x03\x04"


def block(rows: list[tuple[int, bytes, bytes]]) -> bytes:
    """Of keys without what they share with the one before."""
    out = b"".join(varint(shared) + varint(len(own)) + varint(len(value)) + own + value for shared, own, value in rows)
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def table(rows: list[tuple[int, bytes, bytes]], compression: bytes = b"\0") -> bytes:
    first = block(rows)
    out = first + compression + bytes(4)
    index_at = len(out)
    index = block([(0, b"zzz", varint(0) + varint(len(first)))])
    out += index + b"\0" + bytes(4)
    handles = varint(0) + varint(0) + varint(index_at) + varint(len(index))
    return out + handles.ljust(40, b"\0") + MAGIC


NUMBERS = np.arange(300, dtype="<f4")
ROWS = [
    (0, b"", b"\x08\x01"),
    (0, b"dense/bias", entry((2,), 0, 8)),
    (6, b"kernel", entry((149, 2), 8, 1192)),
    (0, b"step", entry((), 0, 8, kind=9)),
]


def test_tensors_are_read_by_name_and_shape_and_other_types_are_left_out() -> None:
    tensors = read_bundle(table(ROWS), NUMBERS.tobytes())
    assert set(tensors) == {"dense/bias", "dense/kernel"}
    assert tensors["dense/bias"].tolist() == [0, 1]
    assert np.array_equal(tensors["dense/kernel"], NUMBERS[2:].reshape(149, 2))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"no table at all", "no table"),
        (table(ROWS, b"\1"), "compressed"),
        (table([(0, b"long", entry((999,), 0, 3996))]), "long lies beyond"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_reason(index: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_bundle(index, NUMBERS.tobytes())

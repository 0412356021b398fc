"""TensorFlow checkpoints of version 2, read without TensorFlow.

`.index` is a table in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/table_format.md), of a name and
a BundleEntryProto for each tensor (tensorflow/core/protobuf/tensor_bundle.proto); `.data-00000-of-00001` is the numbers
one after the other. TensorFlow writes the table uncompressed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_FOOTER_BYTES = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER_BYTES = 5

# In protocol buffers: kinds of fields, and the numbers of those that matter here.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5
_DIMENSION, _EXTENT = 2, 1
_FLOAT32 = 1


def read_bundle(index: bytes, data: bytes) -> dict[str, NDArray[np.float32]]:
    """The 32-bit tensors of a checkpoint by name. index, data: its two files.

    Raises ValueError for what is no such checkpoint.
    """
    tensors = {}
    for name, entry in _entries(index):
        if not name:
            # Says how many files there are.
            continue
        fields = dict(_fields(entry))
        if fields.get(_TYPE) != _FLOAT32:
            continue
        offset, size = _whole(fields.get(_OFFSET, 0)), _whole(fields.get(_SIZE, 0))
        if offset + size > len(data):
            raise ValueError(f"{name.decode()} lies beyond the end of its file")
        numbers = np.frombuffer(data[offset : offset + size], dtype="<f4")
        tensors[name.decode()] = numbers.reshape(_extents(fields.get(_SHAPE, b"")))
    return tensors


def _entries(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every key of a table with its value."""
    if len(index) < _FOOTER_BYTES or index[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("this is no table of a TensorFlow checkpoint")
    footer = index[-_FOOTER_BYTES:]
    place = 0
    handle = []
    for _ in range(4):
        number, place = _varint(footer, place)
        handle.append(number)
    for _, where in _block(index, handle[2], handle[3]):
        start, after = _varint(where, 0)
        size, _ = _varint(where, after)
        yield from _block(index, start, size)


def _block(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """A block's keys and values. Each key is told by what it has in common with the one before."""
    if table[start + size : start + size + _TRAILER_BYTES][:1] != b"\0":
        raise ValueError("the table is compressed")
    block = table[start : start + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Every field of a protocol buffer: its number, and a number or bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
        elif kind == _BYTES:
            size, place = _varint(message, place)
            yield number, message[place : place + size]
            place += size
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
            yield number, int.from_bytes(message[place : place + size], "little")
            place += size
        else:
            raise ValueError(f"no field is of kind {kind}")


def _extents(shape: int | bytes) -> tuple[int, ...]:
    assert isinstance(shape, bytes)
    extents = []
    for number, dimension in _fields(shape):
        if number == _DIMENSION and isinstance(dimension, bytes):
            extents.append(_whole(dict(_fields(dimension)).get(_EXTENT, 0)))
    return tuple(extents)


def _whole(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        if place >= len(data):
            raise ValueError("the checkpoint's table is cut off")
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, place

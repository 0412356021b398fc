"""Large blocks are given back as they are freed, also those that come after a larger one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# How many blocks are mapped one by one, more than before, once one of the size of Ray's stacks is there.
NUM_MAPPED = """
import ctypes
from deployments.malloc_tuning import LARGE_BYTES, map_large_blocks

SIZES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in SIZES]

c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes, c.mallinfo2.restype = ctypes.c_void_p, [ctypes.c_void_p], Mallinfo
{call}
c.free(c.malloc(2**24))
before = c.mallinfo2().hblks
c.malloc({size})
print(c.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has another heap")
@pytest.mark.parametrize(
    ("call", "size", "num_mapped"),
    [("", "2**17", 0), ("map_large_blocks()", "2**17", 1), ("map_large_blocks()", "LARGE_BYTES // 2", 0)],
)
def test_large_blocks_are_mapped_whatever_was_freed_before(call: str, size: str, num_mapped: int) -> None:
    code = NUM_MAPPED.replace("{call}", call).replace("{size}", size)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) == num_mapped

"""Whether an answer is right: all that can be told from outside, to the sample."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping

from deployments.codec_decoder.windows import num_samples
from loadtests.load.errors import Refused, WrongAnswer
from loadtests.load.wav import wav_head
from loadtests.load.wish import Wish

OUTCOMES = {"use": frozenset({"miss", "hit", "cut", "extended", "joined"}), "refresh": frozenset({"miss"})}
_ID = re.compile("[0-9a-f]{32}")


def check_status(status: int, expected: int, headers: Mapping[str, str], body: bytes) -> None:
    """body: as far as it is there. Raises: WrongAnswer; Refused."""
    if status == 429:
        wait = headers.get("Retry-After", "")
        if not wait.isdecimal():
            raise WrongAnswer("429 without a Retry-After in seconds")
        raise Refused(float(wait))
    if status != expected:
        raise WrongAnswer(f"{status} in the place of {expected}: {body[:200].decode(errors='replace')}")


def check_headers(headers: Mapping[str, str], wish: Wish, outcomes: Collection[str]) -> str:
    """The answer's X-Cache. outcomes: what it may be.

    Raises: WrongAnswer where the headers of a clip are not those of the wish.
    """
    outcome = _header(headers, "X-Cache")
    if outcome not in outcomes:
        raise WrongAnswer(f"X-Cache is {outcome}, and may be {', '.join(sorted(outcomes))} only")
    if outcome in ("hit", "cut") and not _header(headers, "Age").isdecimal():
        raise WrongAnswer("a clip that was kept, without its Age in seconds")
    if _header(headers, "X-Seed") != str(wish.seed):
        raise WrongAnswer("X-Seed is not the seed that was asked for")
    if not _ID.fullmatch(_header(headers, "X-Generation-Id")):
        raise WrongAnswer("X-Generation-Id is not 32 hexadecimal digits")
    if _header(headers, "Content-Type") != "audio/wav":
        raise WrongAnswer("Content-Type is not audio/wav")
    for name in ("X-Model", "X-Model-License", "X-Request-Id"):
        _header(headers, name)
    return outcome


def check_sound(wav: bytes | bytearray, headers: Mapping[str, str], wish: Wish) -> None:
    """The whole file against its own head, the headers and the wish. Raises: WrongAnswer."""
    head = wav_head(wav)
    if head is None or head.size_bytes != len(wav) or head.data_offset + head.data_bytes > len(wav):
        raise WrongAnswer(f"the WAV file is not whole: {len(wav)} bytes")
    told = (_header(headers, "X-Sample-Rate"), _header(headers, "X-Channels"))
    if told != (str(head.sample_rate), str(head.channels)):
        raise WrongAnswer("X-Sample-Rate and X-Channels are not what the WAV file says")
    expected = num_samples(wish.duration_ms, head.sample_rate)
    if head.num_samples != expected:
        raise WrongAnswer(f"{head.num_samples} samples in the place of {expected}")
    if _header(headers, "X-Duration-Ms") != str(round(1000 * expected / head.sample_rate)):
        raise WrongAnswer("X-Duration-Ms is not the clip's")


class Repeats:
    """Whether what is asked for again is the same again: one for all users, who ask the same of one service."""

    def __init__(self) -> None:
        self._digests: dict[Wish, bytes] = {}

    def check(self, wish: Wish, wav: bytes | bytearray) -> None:
        """Of what others ask for too. Raises: WrongAnswer for other bytes than the first time."""
        digest = hashlib.sha256(wav).digest()
        if wish.cache == "use" and self._digests.setdefault(wish, digest) != digest:
            raise WrongAnswer("the same request gave other bytes than before")


def check_length(headers: Mapping[str, str], size_bytes: int) -> None:
    """Raises: WrongAnswer where the answer has more or fewer bytes than it said: it broke off."""
    if _header(headers, "Content-Length") != str(size_bytes):
        raise WrongAnswer(f"it broke off: {size_bytes} of {headers['Content-Length']} bytes")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WrongAnswer(f"the answer has no {name}")
    return value

from __future__ import annotations

import hashlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.auth import keys as key_text


def test_a_key_is_its_id_and_32_random_bytes_of_which_only_the_digest_is_kept() -> None:
    key = key_text.generate_key()
    assert re.fullmatch(r"mgs_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", key.text)
    assert len(key.text) == key_text.MAX_KEY_BYTES
    key_id, secret = key_text.split_key(key.text.encode())
    assert key_id == key.id
    assert key.text == f"mgs_{key.id}_{secret.decode()}"
    assert key.digest == key_text.digest_of(secret) == hashlib.sha256(secret).digest()


def test_no_two_keys_are_alike() -> None:
    keys = [key_text.generate_key() for _ in range(1000)]
    assert len({key.id for key in keys}) == len({key.digest for key in keys}) == 1000


def test_a_key_does_not_show_its_secret() -> None:
    key = key_text.generate_key()
    _, secret = key_text.split_key(key.text.encode())
    for shown in (repr(key), str(key), f"{[key]}"):
        assert secret.decode() not in shown
        assert key.id in shown


NEARLY = st.builds(
    "mgs{}{}{}{}".format,
    st.sampled_from(["_", "", "-"]),
    st.text("0123456789abcdefg", min_size=15, max_size=17),
    st.sampled_from(["_", "", "-"]),
    st.builds(lambda first, n: first + n * "Z", st.text("aZ_-+\n", max_size=2), st.integers(40, 44)),
)


@settings(max_examples=300)
@given(st.binary(max_size=200) | NEARLY.map(str.encode))
def test_of_any_bytes_only_a_whole_key_has_an_id(presented: bytes) -> None:
    key_id, secret = key_text.split_key(presented)
    text = presented.decode("latin-1")
    is_key = re.fullmatch(r"mgs_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", text) is not None and not text.endswith("\n")
    assert bool(key_id) == is_key
    assert len(secret) <= key_text.MAX_KEY_BYTES

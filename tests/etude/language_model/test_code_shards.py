from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etude.language_model import code_shards
from etude.language_model.code_shards import read_code_clips, require_format, settle_format, write_code_shard
from etude.language_model.encoder import CodeFormat
from tests.etude.language_model.conftest import random_clips

FORMAT = CodeFormat(4, 1, 32, 50, 500, ((1.0, 2.0),) * 4)


def test_clips_come_back_in_order_of_their_shards(tmp_path: Path) -> None:
    clips = random_clips((12, 30, 20, 7))
    write_code_shard(tmp_path, "b", clips[2:])
    write_code_shard(tmp_path, "a", clips[:2])
    for read, written in zip(read_code_clips(tmp_path), clips, strict=True):
        np.testing.assert_array_equal(read.codes, written.codes)
        assert read.codes.dtype == np.int16
        assert (read.texts, read.attributes) == (written.texts, written.attributes)


def test_a_kill_while_writing_leaves_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(code_shards.np, "save", die)
    with pytest.raises(KeyboardInterrupt):
        write_code_shard(tmp_path, "a", random_clips((12,)))
    with pytest.raises(FileNotFoundError, match=r"python -m etude\.encode_codes"):
        list(read_code_clips(tmp_path))


def test_codes_of_another_codec_are_refused(tmp_path: Path) -> None:
    settle_format(tmp_path, FORMAT)
    settle_format(tmp_path, FORMAT)
    other = CodeFormat(4, 1, 32, 50, 500, ((1.0, 3.0),) * 4)
    with pytest.raises(ValueError, match="another codec's: the codebooks have other vectors"):
        require_format(tmp_path, other)
    with pytest.raises(FileNotFoundError, match=r"has no codes\.json"):
        require_format(tmp_path / "elsewhere", FORMAT)

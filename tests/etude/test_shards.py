from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.shards import Clip, read_clips, shard_path, write_shard


def clip(seed: int, num_samples: int) -> Clip:
    plan = draw_plan(seed)
    pcm = np.arange(seed, seed + num_samples, dtype=np.int16)
    return Clip(pcm, describe_often(plan, 3), plan.attributes())


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    clips = [clip(seed, 100 + seed) for seed in range(6)]
    write_shard(tmp_path, range(3, 6), clips[3:])
    write_shard(tmp_path, range(3), clips[:3])
    read = list(read_clips(tmp_path))
    assert [c.attributes for c in read] == [c.attributes for c in clips]
    assert [c.descriptions for c in read] == [c.descriptions for c in clips]
    assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(read, clips, strict=True))


def test_sound_is_mapped_and_not_read(tmp_path: Path) -> None:
    write_shard(tmp_path, range(1), [clip(0, 50)])
    (read,) = read_clips(tmp_path)
    assert isinstance(read.pcm, np.memmap)


def test_a_shard_without_its_sound_does_not_count(tmp_path: Path) -> None:
    write_shard(tmp_path, range(1), [clip(0, 50)])
    shard_path(tmp_path, range(1)).unlink()
    with pytest.raises(FileNotFoundError, match=r"python -m etude\.dataset"):
        next(read_clips(tmp_path))


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    write_shard(tmp_path, range(2), [clip(0, 10), clip(1, 10)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000000-00000001.jsonl", "00000000-00000001.npy"]

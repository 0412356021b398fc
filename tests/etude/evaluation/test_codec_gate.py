from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from etude.codec.initialise import new_codec
from etude.evaluation.codec_gate import LIMITS, Limit, in_key, main, named, table
from etude.judges.musicnn import Musicnn
from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.shards import Clip, write_shard
from tests.etude.codec.conftest import TINY, notes
from tests.etude.evaluation.sounds import RATE, hiss, tones

SECONDS = 3.2


def soloists(first_seed: int, count: int) -> list[Clip]:
    """Flutes are chords here, and drums are hiss."""
    clips: list[Clip] = []
    for seed in range(first_seed, first_seed + 2000):
        plan = draw_plan(seed, level="solo")
        if len(clips) < count and plan.families == (("drums",), ("flute",))[len(clips) % 2]:
            sound = hiss(SECONDS, seed=seed) if plan.has_drums else tones([440 + seed % 7, 880], SECONDS)
            clips.append(Clip((sound * 32767).astype(np.int16), describe_often(plan, 1), plan.attributes()))
    return clips


def sounds(clips: list[Clip]) -> list[torch.Tensor]:
    return [torch.from_numpy(clip.pcm.astype(np.float32) / 32768) for clip in clips]


def test_a_limit_holds_on_its_own_side_and_for_nothing_unknown() -> None:
    assert Limit(0.25).holds(0.25)
    assert not Limit(0.25).holds(0.26)
    assert Limit(0.9, least=True).holds(0.95)
    assert not Limit(0.9, least=True).holds(None)


def test_soloists_that_stay_the_same_are_named_and_those_that_change_are_not() -> None:
    references, clips = soloists(0, 8), soloists(11_000_000, 4)
    there = sounds(clips)
    swapped = [there[1], there[0], there[3], there[2]]
    assert named(clips, there, there, references, RATE) == {"named_of_pieces": 1.0, "named_of_named": 1.0}
    assert named(clips, there, swapped, references, RATE) == {"named_of_pieces": 1.0, "named_of_named": 0.0}


def test_what_has_no_pitch_has_no_share_in_a_key() -> None:
    drums = [clip for clip in soloists(0, 4) if clip.attributes["has_drums"]]
    assert in_key(drums, sounds(drums), RATE) is None


def test_the_table_tells_what_must_be_and_whether_it_is() -> None:
    lines = table({"spectral_convergence": 0.2, "in_key": None, "named_of_pieces": 0.5}).splitlines()
    assert lines[2:] == [
        "| spectral_convergence | 0.200 | ≤ 0.25 | yes |",
        "| in_key | none | ≥ 0.94 | no |",
        "| named_of_pieces | 0.500 |  |  |",
    ]


def test_the_command_leads_from_folders_to_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {"held_out": soloists(11_000_000, 4), "references": soloists(0, 8)}
    for name, clips in folders.items():
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name, range(len(clips)), clips)
    new_codec(TINY, notes(4, RATE), seed=0).save_pretrained(tmp_path / "codec")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(Musicnn().state_dict(), tmp_path / "musicnn")
    given = [str(tmp_path / "codec"), "--held-out", str(tmp_path / "held_out")]
    given += ["--references", str(tmp_path / "references"), "--musicnn", str(tmp_path / "musicnn")]
    main([*given, "--pieces", "4", "--piece-s", "3.1", "--threads", str(torch.get_num_threads())])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told["holds"]) == set(LIMITS)
    assert told["holds"]["spectral_convergence"] is False
    assert told["figures"]["named_of_pieces"] == 1.0

"""Generations that lost their worker, as the service's logs have them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from loadtests.spot.losses import LossLog, losses_in
from tests.loadtests.spot.examples import job

LINE = "WARNING {},123 musicgen_pipeline hti9akop c03c -- generation {} lost its worker at frame {} (Died)"


def test_losses_are_read_with_their_time_from_all_logs_whatever_the_length_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(LINE.format("2026-11-21 14:37:59", "ab" * 16, 122) + "\nsomething else\n")
    (tmp_path / "b").write_text(LINE.format("2026-11-21 14:37:58", "cd" * 8, 0) + "\n")
    first, second = losses_in([tmp_path / "a", tmp_path / "b"])
    assert (first.generation, first.frame, second.generation, second.frame) == ("cd" * 8, 0, "ab" * 8, 122)
    assert datetime.fromtimestamp(first.at_s).isoformat() == "2026-11-21T14:37:58.123000"


def test_a_loss_is_told_to_the_take_that_was_under_way(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        LINE.format("2026-11-21 14:37:35", f"{1:016x}", 50) + "\n" + LINE.format("2026-11-21 14:37:36", "9" * 16, 1)
    )
    epoch_s = datetime.fromisoformat("2026-11-21T14:37:00.123").timestamp()
    jobs = [job(1, 20, 30), job(1, 30.5, 40), job(2, 20, 40)]
    for _ in range(2):  # once more changes nothing
        LossLog(lambda: [log], epoch_s).tell(jobs)
    assert [each.lost_s for each in jobs] == [[], [pytest.approx(35.0)], []]
    assert jobs[1].lost_at == [50]

"""A plot over time: what users got, where workers were and how clips fared, while spot nodes were lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from loadtests.fleet.node_kinds import ON_DEMAND, SPOT
from loadtests.load.samples import Sample
from loadtests.spot.load import failed
from loadtests.spot.observations import Observations
from loadtests.spot.placement import BATCH, REALTIME, Pool
from loadtests.spot.reference_jobs import LANES, JobRun

_NOTICE, _KILL, _FAILED = "tab:orange", "tab:red", "tab:red"
_LISTENERS, _JOBS = "tab:blue", "tab:green"
# Colours as above: what is on spot is paler.
_POOLS: Sequence[tuple[Pool, str, str]] = (
    ((REALTIME, ON_DEMAND), "real-time, on demand", "tab:blue"),
    ((REALTIME, SPOT), "real-time, on spot (never)", "tab:red"),
    ((BATCH, ON_DEMAND), "batch, on demand", "tab:green"),
    ((BATCH, SPOT), "batch, on spot", "lightgreen"),
)
_STEP_S = 0.5
_MARKS = {"notice": (_NOTICE, "notice for a spot node"), "kill": (_KILL, "a spot node is killed")}


def draw(observations: Observations, measured_on: str, path: Path) -> None:
    """Writes a PNG."""
    figure = Figure(figsize=(11, 9.5), dpi=100)
    figure.subplots_adjust(left=0.08, right=0.985, top=0.91, bottom=0.055, hspace=0.2)
    users, clips, workers = figure.subplots(3, 1, sharex=True, height_ratios=(3, 4, 3))
    began_s = observations.began_s
    ends_s = [sample.end_s - began_s for sample in observations.samples]
    end_s = max([*ends_s, *(each.at_s - began_s for each in observations.placements)], default=1.0)
    _draw_users(users, observations, end_s)
    _draw_clips(clips, observations)
    _draw_workers(workers, observations)
    for axes in (users, clips, workers):
        for node_loss in observations.node_losses:
            colour, label = _MARKS[node_loss.how]
            # Its name stands in the first legend only.
            names = (label, "and it is gone") if axes is users else (None, None)
            axes.axvline(node_loss.at_s - began_s, color=colour, linewidth=1.8, label=names[0])
            axes.axvline(node_loss.gone_s - began_s, color=colour, linestyle=":", label=names[1])
        axes.grid(visible=True, color="0.92")
        axes.set_axisbelow(True)
        axes.set_xlim(0, end_s)
        _legend(axes)
    workers.set_xlabel("seconds since the load began")
    wrong = sum(map(failed, observations.requests))
    equal = sum(map(observations.equal, observations.compared))
    figure.suptitle(
        f"Two spot nodes go: {wrong} of {len(observations.requests)} requests failed, "
        f"{equal} of {len(observations.compared)} clips that lost their worker are the undisturbed ones to the byte\n"
        f"{measured_on}",
        fontsize="medium",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw_users(axes: Axes, observations: Observations, end_s: float) -> None:
    """Each clip's sound, spread over the time that it took."""
    grid = np.arange(0, end_s + _STEP_S, _STEP_S)
    right = [each for each in observations.samples if each.end == "right" and each.audio_s > 0]

    def rate(of: Callable[[Sample], bool]) -> np.ndarray:
        spans = [(each.at_s, each.end_s, each.audio_s) for each in right if of(each) and not _is_fetched(each)]
        return _spread(
            grid, ((at_s - observations.began_s, to_s - observations.began_s, audio) for at_s, to_s, audio in spans)
        )

    listeners, jobs = rate(lambda each: not _is_job(each)), rate(_is_job)
    axes.stackplot(
        grid, listeners, jobs, colors=(_LISTENERS, _JOBS), alpha=0.75, labels=("made in real time", "made as jobs")
    )
    wrong = [each.end_s - observations.began_s for each in observations.requests if failed(each)]
    axes.plot(wrong, [0.0] * len(wrong), color=_FAILED, marker="X", linestyle="none", clip_on=False, label="failed")
    axes.set_ylabel("music for Locust's users,\nseconds a second")
    axes.set_ylim(bottom=0)


def _draw_clips(axes: Axes, observations: Observations) -> None:
    """A bar for each job."""
    began_s = observations.began_s
    for job in observations.jobs:
        colour, label = _shown(observations, job)
        start_s, end_s = job.began_s - began_s, _end_s(job) - began_s
        axes.barh(
            job.reference.lane,
            end_s - start_s,
            left=start_s,
            height=0.7,
            color=colour,
            edgecolor="white",
            label=label,
        )
        lost_s = [each - began_s for each in job.lost_s]
        number = [job.reference.lane] * len(lost_s)
        axes.plot(lost_s, number, color="black", marker="x", linestyle="none", label="its worker was lost")
    axes.set_ylabel(f"the demonstration's own jobs,\n{LANES} at once")
    axes.set_yticks([])
    axes.invert_yaxis()


def _draw_workers(axes: Axes, observations: Observations) -> None:
    times_s = [each.at_s - observations.began_s for each in observations.placements]
    counts = [[each.running.get(pool, 0) for each in observations.placements] for pool, _, _ in _POOLS]
    axes.stackplot(
        times_s,
        *counts,
        step="post",
        colors=[each[2] for each in _POOLS],
        alpha=0.75,
        labels=[each[1] for each in _POOLS],
    )
    axes.set_ylabel("workers that take requests")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    one_each = dict(zip(labels, handles, strict=True))
    # Above its panel, where no line runs.
    axes.legend(
        one_each.values(), one_each, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1,
        ncols=max(1, len(one_each)), frameon=False, fontsize="small", columnspacing=1.2,
    )  # fmt: skip


def _spread(grid: np.ndarray, spans: Iterable[tuple[float, float, float]]) -> np.ndarray:
    """Amounts a second at each time of an even grid [n], from spans (from, until, amount)."""
    rates = np.zeros(len(grid))
    for from_s, until_s, amount in spans:
        until_s = max(until_s, from_s + _STEP_S)
        covered = np.clip(np.minimum(grid + _STEP_S, until_s) - np.maximum(grid, from_s), 0, None)
        rates += amount / (until_s - from_s) * covered / _STEP_S
    return rates


def _is_job(sample: Sample) -> bool:
    return sample.name.startswith("job")


def _is_fetched(sample: Sample) -> bool:
    """Whether its sound was made and counted before."""
    return sample.name == "job: fetch"


def _shown(observations: Observations, job: JobRun) -> tuple[str, str]:
    """Colour and label."""
    if job.error is not None or (job.lost_s and not observations.equal(job)):
        return "tab:red", "failed, or other bytes"
    return ("tab:green", "went on elsewhere: the undisturbed bytes") if job.lost_s else ("0.8", "made by one worker")


def _end_s(job: JobRun) -> float:
    return job.began_s if job.ended_s is None else job.ended_s

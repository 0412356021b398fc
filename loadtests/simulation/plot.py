"""A simulation as a picture: replicas over time beside what is requested, and what waiting costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.simulation.arrivals import BIN_S
from loadtests.simulation.pool import Outcome
from loadtests.simulation.scenario import OURS, RAYS_DEFAULT, Scenario

STYLES = {OURS: ("tab:blue", "o"), RAYS_DEFAULT: ("tab:orange", "s")}
FIXED = ("0.45", "^")
BINS = 30  # of arrivals, in a point of the line
LEAST_S = 0.01  # a wait of nothing has a place on a logarithmic axis too


def draw(
    scenario: Scenario,
    outcomes: Mapping[str, Mapping[str, Outcome]],
    figures: Mapping[str, Mapping[str, Mapping[str, float]]],
    path: Path,
) -> None:
    """Writes a PNG: a row of two panels for each pool."""
    figure = Figure(figsize=(12, 4 * len(outcomes)), dpi=80, layout="constrained")
    rows = figure.subplots(len(outcomes), 2, squeeze=False, width_ratios=[2, 1])
    for (pool, fleets), (over_time, costs) in zip(outcomes.items(), rows, strict=True):
        rates = scenario.arrivals(pool).rates / scenario.full_audio_s_per_s
        rates = rates[: len(rates) // BINS * BINS].reshape(-1, BINS).mean(axis=1)
        hours = np.arange(len(rates)) * BINS * BIN_S / 3600
        over_time.fill_between(hours, rates, color="0.85", step="post", label="requested, in full replicas")
        for name, outcome in fleets.items():
            if name in STYLES:
                course = outcome.course
                # Ours above the other one, which may go up and down so often that it hides all else.
                line = {"linewidth": 1.4, "zorder": 3} if name == OURS else {"linewidth": 0.5, "alpha": 0.6}
                over_time.step(course.now_s / 3600, course.up, color=STYLES[name][0], where="post", label=name, **line)
        over_time.set_ylabel("replicas that are up")
        over_time.set_title(pool)
        for name, row in figures[pool].items():
            _point(costs, name, row)
        costs.set_xscale("log")
        costs.set_xlabel(f"seconds until a slot, 99th percentile (at least {LEAST_S:g})")
        costs.set_ylabel("cost of an hour of audio")
        costs.margins(x=0.25, y=0.15)
        costs.set_ylim(bottom=0)
        for axes in (over_time, costs):
            axes.grid(visible=True, color="0.92")
    rows[-1][0].set_xlabel("hours")
    rows[0][0].legend(fontsize="small")
    figure.suptitle(
        f"Simulated: {scenario.days:g} days, seed {scenario.seed}; the engine is {scenario.engine}; prices, starts and "
        "the market are assumptions"
    )
    figure.savefig(path)


def _point(axes: Axes, name: str, row: Mapping[str, float]) -> None:
    colour, marker = STYLES.get(name, FIXED)
    at = max(row["wait_p99_s"], LEAST_S), row["cost_per_audio_hour"]
    axes.plot(*at, color=colour, marker=marker)
    # Ours below, the others above: two that cost the same are often near each other.
    offset = (0, -15) if name == OURS else (0, 7)
    axes.annotate(name, at, xytext=offset, textcoords="offset points", ha="center", color=colour, fontsize="small")

"""A plot of latency and throughput over users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.load.levels import Level, highest_level_held, percentile

_PERCENTILES = ((50, "tab:blue", "o"), (95, "tab:orange", "s"), (99, "tab:red", "^"))
_LIMIT = "0.45"


def draw(levels: Sequence[Level], bound_ms: float, engine_per_s: float | None, measured_on: str, path: Path) -> None:
    """Writes a PNG. engine_per_s: audio-seconds a second of the language model alone, where it is known."""
    figure = Figure(figsize=(11, 5.2), dpi=100, layout="constrained")
    latency, throughput = figure.subplots(1, 2)
    rising, after = _split(levels)
    users = [level.phase.users for level in rising]
    for percent, colour, marker in _PERCENTILES:
        values = [percentile(level.first_audio_ms, percent) for level in rising]
        latency.plot(users, values, color=colour, marker=marker, label=f"until the first sound, {percent} %")
        for level in after:
            value = percentile(level.first_audio_ms, percent)
            latency.plot(level.phase.users, value, color=colour, marker="x", markersize=9, linestyle="none")
    latency.axhline(bound_ms, color=_LIMIT, linestyle=":", label="the bound for 95 %")
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter("{x:g}")
    _label(latency, users, "milliseconds", "How long a listener waits (crosses: afterwards)")
    throughput.plot(
        users, [level.made_per_s for level in rising], color="tab:green", marker="o", label="new music made"
    )
    if engine_per_s is not None:
        label = "the language model alone (bench_engine)"
        throughput.axhline(engine_per_s, color=_LIMIT, linestyle="--", label=label)
    _label(throughput, users, "audio-seconds per second", "How much is made")
    throughput.set_ylim(bottom=0)
    best = highest_level_held(levels, bound_ms)
    if best is not None:
        for axes in (latency, throughput):
            axes.axvline(best.phase.users, color="0.85", linewidth=6, zorder=0, label="held")
    figure.suptitle(f"Load by Locust on the same machine\n{measured_on}")
    handles, labels = latency.get_legend_handles_labels()
    more_handles, more_labels = throughput.get_legend_handles_labels()
    one_each = dict(zip([*labels, *more_labels], [*handles, *more_handles], strict=True))
    figure.legend(one_each.values(), one_each, loc="outside lower center", ncols=4, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _split(levels: Sequence[Level]) -> tuple[list[Level], list[Level]]:
    """Those in which the users become more, and those that come after."""
    rising: list[Level] = []
    after: list[Level] = []
    for level in levels:
        (after if rising and level.phase.users <= rising[-1].phase.users else rising).append(level)
    return rising, after


def _label(axes: Axes, users: Sequence[int], unit: str, title: str) -> None:
    axes.set_xticks(users, [str(each) for each in users])
    axes.set_xlabel("users")
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.grid(visible=True, which="major", color="0.92")

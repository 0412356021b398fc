"""A plot of the frames of music at the clients over time, while a worker is killed and, in grey, undisturbed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.demo.clip import ClipRun
from loadtests.demo.table import Comparison

_UNDISTURBED, _LOST, _SPARED, _KILL = "0.75", "tab:blue", "tab:cyan", "tab:red"
_MADE = "frames that were made when the worker was lost"


def draw(comparisons: Sequence[Comparison], kills_s: Sequence[float | None], path: Path) -> None:
    """Writes a PNG with a panel for each round. kills_s: each round's, since all clips were requested."""
    figure = Figure(figsize=(11, 5.2), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(kills_s), sharey=True, sharex=True, squeeze=False)[0]
    for i, (axes, killed_s) in enumerate(zip(panels, kills_s, strict=True)):
        for each in comparisons:
            _draw(axes, each.undisturbed, _UNDISTURBED, "undisturbed")
        for each in comparisons:
            colour, label = (_LOST, "lost its worker") if each.lost_at[i] else (_SPARED, "was with the other one")
            _draw(axes, each.killed[i], colour, label)
            if killed_s is not None:
                at = each.lost_at[i]
                axes.plot([killed_s] * len(at), at, color=_KILL, marker="x", linestyle="none", label=_MADE)
        if killed_s is not None:
            axes.axvline(killed_s, color=_KILL, linestyle="--", label="kill -9 of a language-model replica")
        axes.set_xlabel("seconds since all clips were requested")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, color="0.92")
        axes.label_outer()
    panels[0].set_ylabel("frames of music at the client, 50 a second")
    equal = sum(each.equal for each in comparisons)
    figure.suptitle(f"{equal} of {len(comparisons)} clips are byte for byte the undisturbed ones in each round")
    handles, labels = panels[0].get_legend_handles_labels()
    one_each = dict(zip(labels, handles, strict=True))
    title = "lines: streams; dots: clips that were waited for"
    figure.legend(one_each.values(), one_each, loc="outside lower center", ncols=3, fontsize="small", title=title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _draw(axes: Axes, clip: ClipRun, colour: str, label: str) -> None:
    times_s, frames = [0.0, *clip.times_s], [0.0, *clip.frames]
    if clip.request.streamed:
        axes.plot(times_s, frames, color=colour, linewidth=1.2, drawstyle="steps-post", label=label)
    else:
        axes.plot(times_s[-1:], frames[-1:], color=colour, marker="o", linestyle="none", label=label)

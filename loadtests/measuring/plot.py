"""A curve as a picture: audio-seconds per second, and latency, over requests at once."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.measuring.curve import Curve

STYLES = {"ours": ("tab:blue", "o"), "transformers": ("tab:orange", "s")}
LIMIT = "0.45"
AT_MEMORY_SPEED = "if each step only read its weights once"


def plot(curve: Curve, path: Path) -> None:
    """Writes a PNG. Both axes are logarithmic: a straight line of slope one is perfect batching."""
    figure = Figure(figsize=(11, 5.2), dpi=100, layout="constrained")
    throughput, latency = figure.subplots(1, 2)
    for who, (colour, marker) in STYLES.items():
        points = curve.of(who)
        if not points:
            continue
        at = [point.requests for point in points]
        speeds, latencies = [point.audio_s_per_s for point in points], [point.latency_s for point in points]
        throughput.plot(at, speeds, color=colour, marker=marker, label=f"{who}, {points[0].dtype}")
        latency.plot(at, latencies, color=colour, marker=marker)
        _tell(throughput, at, speeds, colour)
        _tell(latency, at, latencies, colour)
    streamed = curve.of("ours")
    latency.plot(
        [point.requests for point in streamed],
        [point.first_sound_s for point in streamed],
        color=STYLES["ours"][0],
        marker="^",
        linestyle=":",
        label="ours, until the first sound",
    )
    counts = sorted({point.requests for point in curve.points})
    floor = [requests * curve.clip_s / curve.floor_s for requests in counts]
    throughput.plot(counts, floor, color=LIMIT, linestyle="--", label=AT_MEMORY_SPEED)
    latency.axhline(curve.floor_s, color=LIMIT, linestyle="--")
    throughput.plot(counts, counts, color=LIMIT, linestyle=":", label="real time for every request")
    latency.axhline(curve.clip_s, color=LIMIT, linestyle=":")
    _label(throughput, counts, "audio-seconds per second", "How much is made: more is better")
    _label(latency, counts, "seconds until all are whole", "How long a request waits: less is better")
    what = f"{curve.shape} on {curve.device}, clips of {curve.clip_s:g} s, all at once"
    figure.suptitle(f"{what}\n{curve.points[-1].measured_on}")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path)


def _tell(axes: Axes, at: list[int], values: list[float], colour: str) -> None:
    """The figures themselves, beside their points."""
    for requests, value in zip(at, values, strict=True):
        axes.annotate(
            f"{value:.3g}", (requests, value), xytext=(0, 7), textcoords="offset points", ha="center", color=colour
        )


def _label(axes: Axes, counts: list[int], unit: str, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.08, y=0.1)
    axes.set_xticks(counts, [str(each) for each in counts])
    axes.set_xlabel("requests at once")
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.grid(visible=True, which="major", color="0.9")

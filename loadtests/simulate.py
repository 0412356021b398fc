"""Days of a fleet in minutes: the service's own scaling policy beside Ray's default one and fleets of fixed size.

    .venv/bin/python -m loadtests.simulate --days 2 --realtime 10 --batch 10
    .venv/bin/python -m loadtests.simulate --full-speed 24 --slots 16 --name simulate-assumed
    .venv/bin/python -m loadtests.simulate --full-speed 24 --slots 16 --days 1 --realtime 350 --batch 350 --only ours

Two pools, as a deploy file has them: real time on nodes on demand, batch on spot with on-demand nodes where spot is
refused. Discrete events: arrivals, slots, engines whose speed follows from how many slots are in use, nodes that start
and load a model, spot nodes taken back with and without notice, generations that go on elsewhere. Policies see what
Serve would tell them, now and then and as means, and Serve's own functions delay what they ask for.

The engine is fitted to a curve that `loadtests.measuring.curves` measured (--curve; by default the embedded model's on a CPU).
With --full-speed it is one that nobody has measured: what a full engine makes, in audio-seconds a second, and how much
of that batching gains (--gain: times the speed of one generation alone) are assumptions then, in the form that fits the
curves. Prices are of a node and hour, and by default in units of one on demand: what spot costs of it, refusals and
preemptions are assumptions too.

Left out: text encoders, decoders and the nodes they run on, what a generation's beginning costs its neighbours, and
clients who leave. Waiting is until the first slot. The same seed gives the same figures, bit for bit. They go to
RESULTS/NAME.json, drawn to the .png beside it; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from loadtests.measuring.curve import Curve
from loadtests.simulation.cloud import CloudSettings
from loadtests.simulation.engine import EngineCurve
from loadtests.simulation.figures import cost_per_audio_hour, figures
from loadtests.simulation.picture import draw
from loadtests.simulation.pool import Outcome
from loadtests.simulation.scenario import BATCH, OURS, REALTIME, Scaling, Scenario
from serve_app.scaling.policy import Targets

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "cost_per_audio_hour": "cost/audio h",
    "wait_p50_s": "p50 s",
    "wait_p95_s": "p95 s",
    "wait_p99_s": "p99 s",
    "late": "late",
    "utilisation": "used",
    "lost": "lost",
    "preemptions": "taken",
    "turns": "turns",
    "replicas_mean": "replicas",
    "replicas_most": "most",
}


def scenario(options: argparse.Namespace) -> Scenario:
    """Raises: ValueError for an engine that can't be."""
    if options.full_speed is not None:
        curve = EngineCurve.assumed(options.slots, options.full_speed, options.gain)
        engine = f"assumed: {options.full_speed:g} audio-s/s with {options.slots} slots, {options.gain:g} times one's"
    else:
        curve = EngineCurve.fit(Curve.read(options.curve).of("ours"))
        engine = f"fitted to {options.curve.name}"
    cloud = CloudSettings(
        node_start_s=options.node_start,
        load_s=options.model_load,
        preemptions_per_hour=options.preemptions,
        refused=options.refused,
        on_demand_price=options.price_on_demand,
        spot_price=options.price_spot,
    )
    scaling = {
        REALTIME: Scaling(
            Targets(options.load_realtime, options.wait_realtime), options.up_realtime, options.down_realtime, 1
        ),
        BATCH: Scaling(Targets(options.load_batch, options.wait_batch), options.up_batch, options.down_batch, 0),
    }
    return Scenario(
        seed=options.seed,
        days=options.days,
        realtime=options.realtime,
        batch=options.batch,
        steady=options.steady,
        engine=engine,
        curve=curve,
        slots=options.slots,
        clouds={REALTIME: cloud, BATCH: replace(cloud, spot=True)},
        scaling=scaling,
        look_s=options.look,
        look_back_s=options.look_back,
    )


def run(options: argparse.Namespace) -> dict[str, object]:
    """Simulates, prints a table for each pool, keeps and draws; the figures of the last line."""
    simulated = scenario(options)
    outcomes: dict[str, dict[str, Outcome]] = {REALTIME: {}, BATCH: {}}
    pools: dict[str, dict[str, dict[str, float]]] = {REALTIME: {}, BATCH: {}}
    for pool in outcomes:
        wait_s = simulated.scaling[pool].targets.wait_s
        print(f"{pool}, late after {wait_s:g} s\n{'':16}" + "".join(f"{each:>13}" for each in COLUMNS.values()))
        began_s = time.perf_counter()
        for name, outcome in simulated.run(pool, only=options.only):
            row = figures(outcome, simulated.full_audio_s_per_s, wait_s)
            print(f"{name:16}" + "".join(f"{row[each]:>13.4g}" for each in COLUMNS), flush=True)
            print(f"{pool}, {name}: {time.perf_counter() - began_s:.1f} s", file=sys.stderr)
            outcomes[pool][name], pools[pool][name] = outcome, row
            began_s = time.perf_counter()
    result: dict[str, object] = {
        "scenario": asdict(simulated),
        **pools,
        "cost_per_audio_hour": {
            name: cost_per_audio_hour([outcomes[pool][name] for pool in outcomes]) for name in outcomes[REALTIME]
        },
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{options.name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(simulated, outcomes, pools, path.with_suffix(".png"))
    return result


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--days", type=float, default=2)
    parser.add_argument("--realtime", type=float, default=10, help="asked for on average, in full replicas")
    parser.add_argument("--batch", type=float, default=10, help="likewise")
    parser.add_argument("--steady", action="store_true", help="without days and bursts: to see what flaps by itself")
    parser.add_argument("--only", choices=[OURS], help="leave out what it is compared with")
    parser.add_argument(
        "--curve", type=Path, default=RESULTS / "tiny-cpu.json", help="of loadtests.measuring.curves, to be fitted"
    )
    parser.add_argument("--slots", type=int, default=8, help="of an engine")
    parser.add_argument("--full-speed", type=float, help="assumed: audio-seconds a second of a full engine")
    parser.add_argument("--gain", type=float, default=8, help="assumed: of a full engine over one generation alone")
    parser.add_argument("--node-start", type=float, default=150, help="seconds, on average")
    parser.add_argument("--model-load", type=float, default=45, help="seconds, on average")
    parser.add_argument("--price-on-demand", type=float, default=1)
    parser.add_argument("--price-spot", type=float, default=0.4)
    parser.add_argument("--preemptions", type=float, default=0.05, help="of a spot node an hour")
    parser.add_argument("--refused", type=float, default=0.1, help="share of requests for spot")
    parser.add_argument("--load-realtime", type=float, default=0.7, help="the share of slots to be in use")
    parser.add_argument("--load-batch", type=float, default=1)
    parser.add_argument("--wait-realtime", type=float, default=1, help="seconds that work may wait")
    parser.add_argument("--wait-batch", type=float, default=300)
    parser.add_argument("--up-realtime", type=float, default=10, help="upscale_delay_s")
    parser.add_argument("--up-batch", type=float, default=30)
    parser.add_argument("--down-realtime", type=float, default=300, help="downscale_delay_s")
    parser.add_argument("--down-batch", type=float, default=300)
    parser.add_argument("--look", type=float, default=10, help="seconds between two looks of a policy")
    parser.add_argument("--look-back", type=float, default=30, help="seconds over which it sees means")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder")
    parser.add_argument("--name", default="simulate", help="of the files in it")
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(run(options)))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])

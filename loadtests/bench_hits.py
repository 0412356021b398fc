"""How many requests a second are answered from the cache, beside an empty endpoint behind the same Serve.

    .venv/bin/python -m loadtests.bench_hits --seconds 1 10 --requests 1000 --connections 16

Starts the real service with the embedded model, and beside it, behind the same proxy, endpoints that do nothing but
answer as many bytes of the same media type from memory: one at once, and one that reads the request first. One request
fills the cache. Then all of them, and a bare uvicorn that answers the same, are called in turn, in short rounds, each
time with as many requests over as many connections: with the seed and without, where it is looked up in the store each
time. What the client and the bare uvicorn reach is the most that this machine can show of any server.

The last line is JSON. ratio: hits a second over answers a second of the empty endpoint, the median of the rounds;
ratio_to_reading: of the one that reads. cpu_ms: of a core, by Serve's proxy and replicas and Ray's node, for a request:
it means something also where others keep the machine busy. outcomes: of the hits, by X-Cache. made: calls of the
pipeline and of the language model in the meantime, from the replicas' access logs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from loadtests.hits.bare import bare_server
from loadtests.hits.client import LoadResult, LoadTask
from loadtests.hits.cpu import serving_s
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.running import MODEL, Running, running

PROMPT = "a calm piano melody over soft strings"
HITS, EMPTY, READING, BARE = "hits", "empty", "reading", "bare"
_POLL_S = 0.05
_CACHED_WITHIN_S = 60.0


@dataclass
class Target:
    """One endpoint, in all rounds. cpu_s: of Serve."""

    url: str
    body: str
    per_s: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    sizes: set[int] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)

    def round(self, connections: int, requests: int, *, counts: bool = True) -> None:
        before_s = serving_s()
        answered = run_client({"url": self.url, "body": self.body, "connections": connections, "requests": requests})
        if counts:
            self.cpu_s += serving_s() - before_s
            self.per_s.append(requests / answered["total_s"])
            self.ms += answered["ms"]
            self.sizes.update(answered["sizes"])
            self.outcomes.update(answered["outcomes"])

    def figures(self) -> dict[str, float]:
        percentiles = statistics.quantiles(self.ms, n=100, method="inclusive")
        return {
            "per_s": round(statistics.median(self.per_s), 1),
            "p50_ms": round(percentiles[49], 2),
            "p99_ms": round(percentiles[98], 2),
        }


def run_client(task: LoadTask) -> LoadResult:
    """By a client in a process of its own."""
    command = [sys.executable, "-m", "loadtests.hits.client"]
    done = subprocess.run(command, input=json.dumps(task), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    answered: LoadResult = json.loads(done.stdout)
    return answered


def fill(url: str, body: Mapping[str, object]) -> tuple[int, int]:
    """Has the clip generated and cached; its size in bytes, and its seed. Raises: TimeoutError if it isn't cached."""
    until_s = time.monotonic() + _CACHED_WITHIN_S
    with httpx.Client(trust_env=False, timeout=httpx.Timeout(10, read=None)) as client:
        while time.monotonic() < until_s:
            answer = client.post(f"{url}/v1/music", json=body)
            answer.raise_for_status()
            if answer.headers["X-Cache"] == "hit":
                return len(answer.content), int(answer.headers["X-Seed"])
            time.sleep(_POLL_S)
    raise TimeoutError(f"after {_CACHED_WITHIN_S:g} s the clip is not cached")


def generation_calls(service: Running) -> dict[str, int]:
    """Calls that generate music, so far: each is a line in a replica's access log."""
    calls = {"pipeline": "CALL codes", f"{MODEL}-language-model": "CALL generate"}
    return {
        deployment: sum(log.read_text(encoding="utf-8").count(call) for log in service.replica_logs(deployment))
        for deployment, call in calls.items()
    }


def compare(
    service: Running, bare_url: str, body: Mapping[str, object], size_bytes: int, options: argparse.Namespace
) -> dict[str, object]:
    """All targets in turn."""
    text = json.dumps(body)
    targets = {
        HITS: Target(f"{service.url}/v1/music", text),
        EMPTY: Target(f"{service.url}/empty/{size_bytes}", text),
        READING: Target(f"{service.url}/empty/reading/{size_bytes}", text),
        BARE: Target(f"{bare_url}/{size_bytes}", text),
    }
    before = generation_calls(service)
    per_round = -(-options.requests // options.rounds)
    for i in range(options.rounds + 1):  # the first warms all up
        for target in targets.values():
            target.round(options.connections, per_round, counts=i > 0)
    after = generation_calls(service)
    assert all(target.sizes == {size_bytes} for target in targets.values()), "all answer as many bytes"
    hits = targets[HITS]

    def ratio(to: str) -> float:
        rounds = zip(hits.per_s, targets[to].per_s, strict=True)
        return round(statistics.median([ours / theirs for ours, theirs in rounds]), 3)

    return {
        "body_bytes": size_bytes,
        "seed": "seed" in body,
        "requests": len(hits.ms),
        "ratio": ratio(EMPTY),
        "ratio_to_reading": ratio(READING),
        **{name: target.figures() for name, target in targets.items()},
        "cpu_ms": {name: round(1000 * targets[name].cpu_s / len(hits.ms), 2) for name in (HITS, EMPTY, READING)},
        "outcomes": dict(hits.outcomes),
        "made": {name: after[name] - before[name] for name in before},
    }


def run(options: argparse.Namespace) -> dict[str, object]:
    """Measures all lengths; the figures of the last line."""
    print(f"{describe('cpu')}, commit {commit()}", file=sys.stderr)
    replicas = {"num_replicas": options.replicas}
    empty = {
        "name": "empty",
        "route_prefix": "/empty",
        "import_path": "loadtests.hits.deployment:build",
        "args": {**replicas, "max_ongoing_requests": 256, "ray_actor_options": {"num_cpus": 0.1}},
    }
    results = []
    with (
        running({"ingress": replicas}, lambda step: print(step, file=sys.stderr), others=[empty]) as service,
        bare_server() as bare_url,
    ):
        for seconds in options.seconds:
            body = {"prompt": PROMPT, "music_length_ms": round(1000 * seconds)}
            size_bytes, seed = fill(service.url, body)
            for each in ({**body, "seed": seed}, body):
                results.append(compare(service, bare_url, each, size_bytes, options))
                print(json.dumps(results[-1]), file=sys.stderr)
    return {
        "connections": options.connections,
        "rounds": options.rounds,
        "ingress_replicas": options.replicas,
        "results": results,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_hits", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 10], help="of the clips")
    parser.add_argument("--requests", type=int, default=1000, help="of each kind, in all rounds together")
    parser.add_argument("--connections", type=int, default=16, help="at once")
    parser.add_argument("--rounds", type=int, default=5, help="in which they take turns")
    parser.add_argument("--replicas", type=int, default=1, help="of the ingress, and of the empty endpoint")
    print(json.dumps(run(parser.parse_args(arguments))))


if __name__ == "__main__":
    main(sys.argv[1:])

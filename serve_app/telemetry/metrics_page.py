"""The page that Prometheus scrapes: the metrics of all nodes as one.

Each node's agent is scraped over HTTP; one that does not answer is left out, and counted. Requests that come at the
same time share one page.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from deployments.liveness.stalls import within
from deployments.telemetry.metric import PREFIX, Metric
from serve_app.tasks import detached
from serve_app.telemetry.catalogue import BY_NAME, METRICS
from serve_app.telemetry.service_metrics import SCRAPED_NODES

# The prefix of every metric in Ray's agent.
_RAY = "ray_"
_PARTS = ("_bucket", "_count", "_sum")
# The only label beside a metric's own, so that a node that ends does not change the series of others.
NODE = "node"


@dataclass(frozen=True)
class Sample:
    """A value of one series. name: of the metric, with `_bucket`, `_count` or `_sum` for the parts of a histogram."""

    metric: Metric
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


def parse_samples(page: bytes, node: str) -> list[Sample]:
    """The service's own samples of an agent's page, summed up over processes. node: the value of the label `node`.

    Raises: ValueError for another format.
    """
    # Ray's own metrics are thousands of lines, and are not parsed.
    ours = b"\n".join(line for line in page.splitlines() if line.startswith((_RAY + PREFIX).encode()))
    found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Metric, list[float]]] = {}
    try:
        families = list(text_string_to_metric_families(ours.decode() + "\n"))
    except ValueError as error:
        raise ValueError("that is not Prometheus' text format") from error
    for family in families:
        for name, labels, value, *_ in family.samples:
            metric = _metric_of(name)
            if metric is not None:
                key = name.removeprefix(_RAY), _own(metric, labels, node)
                found.setdefault(key, (metric, []))[1].append(value)
    return [Sample(metric, *key, _together(metric, values)) for key, (metric, values) in found.items()]


def _metric_of(name: str) -> Metric | None:
    """None for a metric of another release."""
    plain = name.removeprefix(_RAY)
    if plain in BY_NAME:
        return BY_NAME[plain]
    for part in _PARTS:
        metric = BY_NAME.get(plain.removesuffix(part))
        if metric is not None and plain.endswith(part) and metric.kind == "histogram":
            return metric
    return None


def _own(metric: Metric, labels: Mapping[str, str], node: str) -> tuple[tuple[str, str], ...]:
    bucket = (("le", labels["le"]),) if "le" in labels else ()
    return (*((name, labels.get(name, "")) for name in metric.labels), (NODE, node), *bucket)


def _together(metric: Metric, values: Iterable[float]) -> float:
    return max(values) if metric.across == "max" else sum(values)


MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition(samples: Iterable[Sample]) -> bytes:
    """Samples in Prometheus' text format, ordered as the catalogue, then by labels."""
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    return generate_latest(registry)


class _Samples(Collector):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_metric: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_metric[sample.metric.name].append(sample)

    def collect(self) -> Iterable[Family]:
        for metric in METRICS:
            family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind)
            for sample in sorted(self._by_metric[metric.name], key=_order):
                family.add_sample(sample.name, dict(sample.labels), sample.value)
            yield family


def _order(sample: Sample) -> tuple[object, ...]:
    labels = dict(sample.labels)
    bound = float(labels.pop("le", "inf"))
    return tuple(labels.items()), sample.name, bound


# Prometheus waits ten seconds by default.
TIMEOUT_S = 3.0
# An agent of a large node shows some hundreds of kilobytes.
MAX_PAGE_BYTES = 32 * 2**20
_AT_ONCE = 16


@dataclass(frozen=True)
class NodeAgent:
    """Where a node exposes its metrics. node: its unique name."""

    node: str
    url: str


class NodeAgents:
    """Scrapes all nodes. find: returns the agents of nodes that are alive. timeout_s: for each node."""

    def __init__(self, find: Callable[[], Awaitable[Sequence[NodeAgent]]], *, timeout_s: float = TIMEOUT_S) -> None:
        self._find = find
        self._timeout_s = timeout_s

    async def samples(self) -> list[Sample]:
        """The samples of all nodes that answer in time."""
        at_once = asyncio.Semaphore(_AT_ONCE)
        # A proxy that the environment names is for what is outside.
        async with httpx.AsyncClient(trust_env=False, timeout=self._timeout_s) as client:

            async def ask(agent: NodeAgent) -> list[Sample] | None:
                async with at_once:
                    try:
                        return await within(_scrape(client, agent), self._timeout_s)
                    except (httpx.HTTPError, asyncio.TimeoutError, ValueError):
                        return None

            found = await asyncio.gather(*(ask(agent) for agent in await self._find()))
        missing = sum(each is None for each in found)
        counts = {"answered": len(found) - missing, "missing": missing}
        of_nodes = [sample for each in found if each is not None for sample in each]
        return of_nodes + [
            Sample(SCRAPED_NODES, SCRAPED_NODES.name, (("state", state), (NODE, "all")), count)
            for state, count in counts.items()
        ]


async def _scrape(client: httpx.AsyncClient, agent: NodeAgent) -> list[Sample]:
    """Raises: httpx.HTTPError; ValueError for a page in another format, or too long."""
    page = bytearray()
    # Compressing a page takes the agent longer than sending it.
    async with client.stream("GET", agent.url, headers={"Accept-Encoding": "identity"}) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            page += part
            if len(page) > MAX_PAGE_BYTES:
                raise ValueError("the page is too long")
    return await asyncio.to_thread(parse_samples, bytes(page), agent.node)


class MetricsPage:
    """The page that `/metrics` answers with.

    No page is cached: another replica's page may be newer than a cached one, so that to a reader of both in turn a
    counter would seem to have restarted.

    Args:
        samples: returns those of all nodes.
    """

    def __init__(self, samples: Callable[[], Awaitable[Sequence[Sample]]]) -> None:
        self._samples = samples
        self._reading: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """The page. When one caller is cancelled, reading goes on for others. Raises: what `samples` raises."""
        if self._reading is None or self._reading.done():
            self._reading = detached(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> bytes:
        return await asyncio.to_thread(exposition, await self._samples())

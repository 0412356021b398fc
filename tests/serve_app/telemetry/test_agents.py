"""Against real servers on the loopback, some of which do not behave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deployments.language_model.engine.engine_metrics import SLOTS
from serve_app.telemetry import metrics_page as agents
from serve_app.telemetry.metrics_page import NodeAgent, NodeAgents, Sample
from serve_app.telemetry.service_metrics import SCRAPED_NODES
from tests.ports import free_port

FIGURES = b'ray_musicgen_slots{model="m",pool="realtime",WorkerId="w"} 8\n'


@contextmanager
def agent(name: str, body: bytes, status: int = 200, hold: threading.Event | None = None) -> Iterator[NodeAgent]:
    """A node's agent. hold: it answers nothing before this is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hold is not None:
                hold.wait()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield NodeAgent(name, f"http://127.0.0.1:{server.server_port}/metrics")
    finally:
        if hold is not None:
            hold.set()
        server.shutdown()
        serving.join()
        server.server_close()


def samples(*found: NodeAgent, timeout_s: float = 30) -> list[Sample]:
    async def find() -> Sequence[NodeAgent]:
        return found

    return asyncio.run(NodeAgents(find, timeout_s=timeout_s).samples())


def told(found: list[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """Slots by node, and nodes by state."""
    slots = {dict(sample.labels)["node"]: sample.value for sample in found if sample.metric is SLOTS}
    states = {dict(sample.labels)["state"]: sample.value for sample in found if sample.metric is SCRAPED_NODES}
    return slots, states


def test_every_nodes_figures_are_there_under_its_name() -> None:
    with agent("a", FIGURES) as one, agent("b", FIGURES) as other:
        assert told(samples(one, other)) == ({"a": 8, "b": 8}, {"answered": 2, "missing": 0})


def test_a_node_that_refuses_fails_or_talks_of_other_things_is_left_out_and_counted() -> None:
    gone = NodeAgent("gone", f"http://127.0.0.1:{free_port()}/metrics")
    with (
        agent("well", FIGURES) as well,
        agent("broken", FIGURES, status=500) as broken,
        agent("odd", b"ray_musicgen_slots{ 8\n") as odd,
    ):
        assert told(samples(gone, broken, odd, well)) == ({"well": 8}, {"answered": 1, "missing": 3})


def test_a_node_that_does_not_answer_holds_nobody_up_for_longer_than_the_time_out() -> None:
    with agent("well", FIGURES) as well, agent("stuck", FIGURES, hold=threading.Event()) as stuck:
        assert told(samples(stuck, well, timeout_s=1)) == ({"well": 8}, {"answered": 1, "missing": 1})


def test_a_page_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with agent("endless", FIGURES * 1000) as endless, agent("well", FIGURES) as well:
        monkeypatch.setattr(agents, "MAX_PAGE_BYTES", 1000)
        assert told(samples(endless, well)) == ({"well": 8}, {"answered": 1, "missing": 1})


def test_where_there_is_no_node_there_is_a_page_all_the_same() -> None:
    assert told(samples()) == ({}, {"answered": 0, "missing": 0})

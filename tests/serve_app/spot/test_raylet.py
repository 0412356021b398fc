"""Finding the machine's node by its raylet's process."""

from __future__ import annotations

import pytest

from serve_app.spot.draining import NodeError, find_node
from tests.serve_app.spot.conftest import StartRaylet

FIRST, SECOND = "ab" * 28, "cd" * 28


def test_a_raylet_is_found_by_its_id_with_the_address_that_it_reports_to(start_raylet: StartRaylet) -> None:
    process = start_raylet(FIRST)
    node = find_node(FIRST)
    assert (node.node_id, node.gcs_address, node.raylet.pid) == (FIRST, "127.0.0.1:6379", process.pid)


def test_of_several_nodes_one_has_to_be_named(start_raylet: StartRaylet) -> None:
    start_raylet(FIRST)
    start_raylet(SECOND)
    with pytest.raises(NodeError, match="--node-id"):
        find_node(None)
    assert find_node(SECOND).node_id == SECOND


def test_no_node_is_an_error_that_says_where_to_start(start_raylet: StartRaylet) -> None:
    start_raylet(FIRST)
    with pytest.raises(NodeError, match="in the same container"):
        find_node(SECOND)


def test_a_node_lives_until_its_raylet_ends_even_as_a_zombie(start_raylet: StartRaylet) -> None:
    process = start_raylet(FIRST)
    node = find_node(FIRST)
    assert node.is_alive()
    process.kill()
    node.raylet.wait()  # which reaps nothing while `process` is there to do it
    assert not node.is_alive()

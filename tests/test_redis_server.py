"""The Redis that tests get is one that can be taken away and comes back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import redis

from tests.redis_server import RedisServer
from tests.redis_server import redis_server as server_of_its_own


def test_a_server_that_was_stopped_comes_back_empty(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("number", 7)
        redis_server.stop()
        assert not redis_server.answers()
        redis_server.start()
        assert client.get("number") is None


def test_a_paused_server_answers_once_it_goes_on(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("number", 7)
        redis_server.pause()
        answers: list[object] = []
        asking = threading.Thread(target=lambda: answers.append(client.get("number")))
        asking.start()
        asking.join(0.2)
        assert answers == []
        redis_server.resume()
        asking.join()
        assert answers == [b"7"]


@pytest.mark.server
def test_a_paused_server_is_ended_too(tmp_path: Path) -> None:
    with server_of_its_own(tmp_path) as server:
        server.pause()
    with pytest.raises(redis.ConnectionError), server.client() as client:
        client.ping()

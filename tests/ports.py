"""Ports of the loopback that nobody listens on."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Below those that systems give to connections of their own, so that none gets it before its server does."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def free_ports(count: int) -> list[int]:
    """As many different ones."""
    ports: dict[int, None] = {}
    while len(ports) < count:
        ports[free_port()] = None
    return list(ports)

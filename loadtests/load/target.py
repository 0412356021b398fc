"""Where the load may go."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit


def checked_target(url: str | None, allowed_hosts: Sequence[str]) -> str:
    """The address without a slash at its end. allowed_hosts: names or numbers besides those of this machine.

    Raises: ValueError for what is no address of a service, and for any other machine.
    """
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or parts.hostname is None or parts.username or parts.query:
        raise ValueError("the service must be an address like http://127.0.0.1:8000")
    if not is_loopback(parts.hostname) and parts.hostname not in {host.lower() for host in allowed_hosts}:
        raise ValueError("load goes to this machine only; --allow-host names another that may be burdened")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a name or number means this machine, without asking anybody."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

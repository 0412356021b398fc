"""Without API keys the service is for this machine only."""

from __future__ import annotations

import ipaddress
from typing import Literal


class PublicWithoutKeys(ValueError):
    """The service would listen on the network without asking who is there."""


def check(host: str, keys: Literal["none", "required"]) -> None:
    """host: what the service is to listen on. Raises: PublicWithoutKeys, one sentence."""
    if keys == "none" and not is_loopback(host):
        raise PublicWithoutKeys(
            "the service would listen beyond this machine and ask nobody for an API key; "
            "set http_options.host: 127.0.0.1, or access.keys: required and make keys with `python -m serve_app.keys`"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than `localhost` may stand for any."""
    address = address_of(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that the text is, IPv4 also where it is written as IPv6; None for a name or nothing."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

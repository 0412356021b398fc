"""What a lease is: the right to do a thing alone, for a while."""

from __future__ import annotations

from dataclasses import dataclass

# None is granted for longer, so one that seems to be is from another clock: of a boot ago, or a server's moved one.
MAX_LEASE_S = 300.0


@dataclass(frozen=True)
class Lease:
    """One grant. token: larger than in any grant of this name before, so that whoever is written to can tell which of
    two holders is the later one.
    """

    name: str
    holder: str
    token: int


@dataclass(frozen=True)
class Held:
    """The lease is ours. sure_until_s: until when it is nobody else's, by `uptime_s` of this process."""

    lease: Lease
    sure_until_s: float


@dataclass(frozen=True)
class Taken:
    """Another has it. value: what the holder gave with it. expires_in_s: unless renewed; above 0."""

    holder: str
    value: str
    expires_in_s: float

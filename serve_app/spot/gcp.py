"""Compute Engine's notice: its metadata server tells whether the instance is being preempted.

https://cloud.google.com/compute/docs/instances/create-use-preemptible: TRUE once it is, and 30 s are left then.
"""

from __future__ import annotations

from collections.abc import Sequence

from serve_app.spot.metadata import MetadataError, MetadataServer
from serve_app.spot.notice import Kind, Notice

PREEMPTED = "/computeMetadata/v1/instance/preempted"
FLAVOR_HEADER = "Metadata-Flavor"
FLAVOR = "Google"


class Gcp:
    """No time is given with the notice, and little is left: it is asked for more often."""

    window_s = 30.0
    poll_s = 1.0

    def __init__(self, server: MetadataServer) -> None:
        self._server = server

    async def notices(self) -> Sequence[Notice]:
        """Raises: MetadataError."""
        answer = await self._server.ask("GET", PREEMPTED, {FLAVOR_HEADER: FLAVOR})
        if answer.status != 200:
            raise MetadataError(f"GET {PREEMPTED}: status {answer.status}")
        if answer.headers.get(FLAVOR_HEADER) != FLAVOR:
            raise MetadataError(f"GET {PREEMPTED}: what answers is not Google's metadata server")
        word = answer.text.strip()
        if word not in ("TRUE", "FALSE"):
            raise MetadataError(f"GET {PREEMPTED}: what it answers is neither TRUE nor FALSE")
        return [Notice(Kind.PREEMPT)] if word == "TRUE" else []

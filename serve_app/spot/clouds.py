"""The notices of EC2 and of Compute Engine, as their metadata servers give them.

EC2 (version 2 of its metadata service: every request carries a token) gives notice two minutes before a stop or a
termination, and at once for a hibernation; it is to be polled every 5 s, and answers 404 while there is no notice:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html. Its recommendation to
rebalance: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html.

Compute Engine says TRUE once the instance is being preempted, with 30 s left:
https://cloud.google.com/compute/docs/instances/create-use-preemptible.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timezone

from serve_app.spot.metadata import MetadataError, MetadataResponse, MetadataServer, Notice, NoticeKind

TOKEN = "/latest/api/token"  # noqa: S105 (a path)
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 (a name)
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_TTL_S = 6 * 3600  # the longest that EC2 grants
_RENEWED_BEFORE_S = 60
_KINDS = {kind.value: kind for kind in (NoticeKind.TERMINATE, NoticeKind.STOP, NoticeKind.HIBERNATE)}


class AwsCloud:
    """EC2. An on-demand instance never gets a notice; polling it costs two small requests each time."""

    window_s = 120.0
    poll_s = 5.0

    def __init__(self, server: MetadataServer) -> None:
        self._server = server
        self._token = ""
        self._token_until_s = 0.0  # by the loop's clock

    async def notices(self) -> Sequence[Notice]:
        """Returns the interruption, or else the recommendation to rebalance. Raises: MetadataError."""
        if (action := await self._get(ACTION)) is not None:
            return [_interruption(action)]
        if (rebalance := await self._get(REBALANCE)) is not None:
            return [Notice(NoticeKind.REBALANCE, _text(_fields(REBALANCE, rebalance), "noticeTime"))]
        return []

    async def _get(self, path: str) -> MetadataResponse | None:
        """Returns None while there is nothing at the path. A token that is refused is renewed once."""
        answer = await self._server.request("GET", path, {TOKEN_HEADER: await self._fresh_token()})
        if answer.status == 401:
            self._token_until_s = 0.0
            answer = await self._server.request("GET", path, {TOKEN_HEADER: await self._fresh_token()})
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise MetadataError(f"GET {path}: status {answer.status}")
        return answer

    async def _fresh_token(self) -> str:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._token_until_s:
            return self._token
        try:
            answer = await self._server.request("PUT", TOKEN, {TTL_HEADER: str(TOKEN_TTL_S)})
        except MetadataError as error:
            raise MetadataError(
                f"{error}; if this is a container with a network of its own, the instance's HttpPutResponseHopLimit "
                "must be 2, else look whether the instance metadata service is on"
            ) from error
        if answer.status == 403:
            raise MetadataError(f"PUT {TOKEN}: status 403; the instance metadata service is off for this instance")
        token, ttl_s = answer.text.strip(), answer.headers.get(TTL_HEADER, "")
        if answer.status != 200:
            raise MetadataError(f"PUT {TOKEN}: status {answer.status}")
        if not (token and token.isascii() and token.isprintable()):
            raise MetadataError(f"PUT {TOKEN}: what it answers is no token")
        valid_s = int(ttl_s) if ttl_s.isascii() and ttl_s.isdigit() else TOKEN_TTL_S
        self._token, self._token_until_s = token, now_s + max(1, min(valid_s, TOKEN_TTL_S) - _RENEWED_BEFORE_S)
        return token


def _interruption(answer: MetadataResponse) -> Notice:
    """The notice of an interruption. An unknown action, or a time that cannot be read, still means an end."""
    fields = _fields(ACTION, answer)
    said = _text(fields, "time")
    try:
        # Such as 2017-09-18T08:22:00Z.
        end = datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        remaining_s = end.timestamp() - answer.now_s
    except ValueError:
        remaining_s = None
    return Notice(_KINDS.get(_text(fields, "action"), NoticeKind.UNKNOWN), said, remaining_s)


def _fields(path: str, answer: MetadataResponse) -> dict[str, object]:
    try:
        fields = json.loads(answer.text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"GET {path}: what it answers is not JSON") from error
    if not isinstance(fields, dict):
        raise MetadataError(f"GET {path}: what it answers is not a JSON object")
    return fields


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


PREEMPTED = "/computeMetadata/v1/instance/preempted"
FLAVOR_HEADER = "Metadata-Flavor"
FLAVOR = "Google"


class GcpCloud:
    """Compute Engine. Its notice gives no time and leaves little, so it is polled more often."""

    window_s = 30.0
    poll_s = 1.0

    def __init__(self, server: MetadataServer) -> None:
        self._server = server

    async def notices(self) -> Sequence[Notice]:
        """Raises: MetadataError."""
        answer = await self._server.request("GET", PREEMPTED, {FLAVOR_HEADER: FLAVOR})
        if answer.status != 200:
            raise MetadataError(f"GET {PREEMPTED}: status {answer.status}")
        if answer.headers.get(FLAVOR_HEADER) != FLAVOR:
            raise MetadataError(f"GET {PREEMPTED}: what answers is not Google's metadata server")
        word = answer.text.strip()
        if word not in ("TRUE", "FALSE"):
            raise MetadataError(f"GET {PREEMPTED}: what it answers is neither TRUE nor FALSE")
        return [Notice(NoticeKind.PREEMPT)] if word == "TRUE" else []

"""The HTTP answer that carries a finished file, or a part of it, from the disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.api.backends import Kept
from serve_app.api.conditional_requests import EntityTag, requested_range
from serve_app.api.finished_sounds import VariationSound
from serve_app.api.middleware.disconnects import while_connected
from serve_app.api.spool import Spool
from serve_app.errors import ClientClosedRequest
from serve_app.proxy.flow_control import Credit


class AudioAnswer(Response):
    """Opens the file, makes it if need be, and sends it piece by piece, as fast as its client takes them.

    Of a file nothing is in memory but the piece that is on its way. A client that takes less than a piece in the time
    that `credit` has for it is left, and may go on with a range.
    asked: the values of the request's header `Range`, joined; None for the whole.
    """

    def __init__(
        self,
        spool: Spool,
        sound: VariationSound,
        make: Callable[[], Awaitable[Kept]],
        *,
        asked: str | None,
        deadline_s: float,
    ) -> None:
        super().__init__(media_type=sound.container.media_type)
        self._spool = spool
        self._sound = sound
        self._make = make
        self._asked = asked
        self._deadline_s = deadline_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: what `make` raises; RangeNotSatisfiable; DeadlineExceeded; ClientClosedRequest if nothing was sent
        by then.
        """
        credit = Credit(scope, receive, send)
        try:
            sending = self._send_all(credit.send, with_body=scope["method"] != "HEAD")
            await while_connected(sending, credit.receive, self._deadline_s)
        except ClientClosedRequest:
            if not self._started:
                raise

    async def _send_all(self, send: Send, *, with_body: bool) -> None:
        async with self._spool.reading(self._sound.name, self._make) as spooled:
            part = requested_range(self._asked, spooled.size_bytes)
            first, end = part or (0, spooled.size_bytes)
            if part is not None:
                self.status_code = 206
                self.headers["Content-Range"] = f"bytes {first}-{end - 1}/{spooled.size_bytes}"
            self.headers.update(self._sound.headers(spooled))
            self.headers.update(file_headers(self._sound.tag))
            self.headers["Content-Length"] = str(end - first)
            self._started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(spooled.pieces(first, end if with_body else first)) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def file_headers(tag: EntityTag) -> Mapping[str, str]:
    """What an answer says of a file that may be asked for again. Where the bytes differ each time, parts of it could
    not be put together.
    """
    return {
        "ETag": str(tag),
        "Accept-Ranges": "none" if tag.weak else "bytes",
        "Cache-Control": "private, no-cache",
    }

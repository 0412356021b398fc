"""The codes of a generation under way: they only grow, and what has been handed out never moves.

Those who listen to one generation, each from the beginning and as far as it asked, and what they hear of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import numpy as np

from deployments.messages import Beat, CodeFrames

_FIRST_CAPACITY = 512


class Frames:
    """codes: int16 [K, n], to begin with."""

    def __init__(self, codes: np.ndarray | None = None) -> None:
        self.number = 0
        self._buffer: np.ndarray | None = None
        if codes is not None:
            self._extend(codes)

    def append(self, new: CodeFrames) -> None:
        """Raises: ValueError for frames that aren't the next ones: none is taken twice and none is left out."""
        if new.first_frame != self.number:
            raise ValueError(f"frame {new.first_frame} came where frame {self.number} is next")
        self._extend(new.codes)

    def some(self, start: int, end: int) -> np.ndarray:
        """int16 [K, n], from frame `start` to before `end`, as far as they are there; read-only."""
        end = min(end, self.number)
        if self._buffer is None:
            return np.zeros((0, 0), np.int16)
        view = self._buffer[:, start : max(start, end)]
        view.flags.writeable = False
        return view

    def all(self) -> np.ndarray:
        """int16 [K, number]; read-only."""
        return self.some(0, self.number)

    def _extend(self, codes: np.ndarray) -> None:
        number = self.number + codes.shape[1]
        if self._buffer is None or number > self._buffer.shape[1]:
            buffer = np.zeros((codes.shape[0], max(_FIRST_CAPACITY, 2 * number)), np.int16)
            if self._buffer is not None:
                buffer[:, : self.number] = self.all()
            self._buffer = buffer
        self._buffer[:, self.number : number] = codes
        self.number = number


BEAT_S = 1.0


class Audience:
    """frames: of the generation named name, as they are made. on_empty: called when the last listener has left.

    text_states: float32 [S, D], that the frames are made with; None until they are known. running: whether an engine
    has given the generation a slot, for the beats. error: what it failed with.
    """

    def __init__(self, name: str, frames: Frames, on_empty: Callable[[], None]) -> None:
        self.name = name
        self.text_states: np.ndarray | None = None
        self.running = False
        self.error: Exception | None = None
        self._frames = frames
        self._on_empty = on_empty
        self._wanted: dict[Ticket, int] = {}
        self._accepted = False
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def num_wanted(self) -> int:
        """Frames that those who listen want, the most of them."""
        return max(self._wanted.values(), default=0)

    def join(self, num_frames: int) -> Ticket:
        """A place to hear the first num_frames from."""
        ticket = Ticket(self, num_frames)
        self._wanted[ticket] = num_frames
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Once or more often."""
        if self._wanted.pop(ticket, None) is not None and not self._wanted:
            self._on_empty()

    def accept(self) -> None:
        """Frames may be handed out: an engine has taken the generation on."""
        if not self._accepted:
            self._accepted = True
            self.tell()

    def tell(self) -> None:
        """There is something new to hear."""
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Whoever listens gets what there is, and then this. The first one stays."""
        if self.error is None:
            self.error = error
            self.tell()

    def heard_of(self, start: int, end: int) -> np.ndarray:
        """int16 [K, n], the frames from `start` to before `end` as far as they may be handed out.

        None before an engine has taken the generation on: one of another kind would have to begin from the first frame.
        """
        return self._frames.some(start, end if self._accepted else start)

    async def hears(self, within_s: float) -> bool:
        """Whether there was anything new to hear so soon."""
        return bool((await asyncio.wait({self._news}, timeout=within_s))[0])


class Ticket:
    """A listener's place, given back by `close`, or by `listen` at its end."""

    def __init__(self, audience: Audience, num_frames: int) -> None:
        self.num_frames = num_frames
        self._audience = audience

    @property
    def text_states(self) -> np.ndarray | None:
        """That the frames are made with, float32 [S, D]; known once there are any."""
        return self._audience.text_states

    def close(self) -> None:
        """The last to leave ends the generation. Once or more often."""
        self._audience.leave(self)

    async def listen(self, first_frame: int = 0) -> AsyncGenerator[CodeFrames | Beat, None]:
        """The frames from `first_frame` to the last, as they are made or at once, and a Beat every second without.

        Raises: what the generation failed with, after the frames it has.
        """
        audience, at = self._audience, first_frame
        try:
            while at < self.num_frames:
                new = audience.heard_of(at, self.num_frames)
                if new.shape[1]:
                    at += new.shape[1]
                    yield CodeFrames(audience.name, at - new.shape[1], new, at == self.num_frames)
                elif audience.error is not None:
                    raise audience.error.with_traceback(None)
                elif not await audience.hears(BEAT_S):
                    yield Beat(running=audience.running)
        finally:
            self.close()

"""The frames of a running generation, and the subscribers that read them.

Every subscriber reads from the first frame it asks for, as far as it asked, whenever it joins. Frames are only ever
appended, so what was handed out stays valid.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import numpy as np

from deployments.liveness.timings import TIMINGS
from deployments.messages import CodeFrames, Heartbeat

_FIRST_CAPACITY = 512


class FrameBuffer:
    """The codes made so far. codes: int16 [K, n], to begin with."""

    def __init__(self, codes: np.ndarray | None = None) -> None:
        self.num_frames = 0
        self._buffer: np.ndarray | None = None
        if codes is not None:
            self._extend(codes)

    def append(self, new: CodeFrames) -> None:
        """Raises: ValueError for frames that are not the next ones, so that none is missing or there twice."""
        if new.first_frame != self.num_frames:
            raise ValueError(f"frame {new.first_frame} came where frame {self.num_frames} is next")
        self._extend(new.codes)

    def slice(self, start: int, end: int) -> np.ndarray:
        """Frames `start` to `end` (not included), as far as they exist: int16 [K, n], read-only."""
        end = min(end, self.num_frames)
        if self._buffer is None:
            return np.zeros((0, 0), np.int16)
        view = self._buffer[:, start : max(start, end)]
        view.flags.writeable = False
        return view

    def codes(self) -> np.ndarray:
        """All frames: int16 [K, num_frames], read-only."""
        return self.slice(0, self.num_frames)

    def _extend(self, codes: np.ndarray) -> None:
        num_frames = self.num_frames + codes.shape[1]
        if self._buffer is None or num_frames > self._buffer.shape[1]:
            buffer = np.zeros((codes.shape[0], max(_FIRST_CAPACITY, 2 * num_frames)), np.int16)
            if self._buffer is not None:
                buffer[:, : self.num_frames] = self.codes()
            self._buffer = buffer
        self._buffer[:, self.num_frames : num_frames] = codes
        self.num_frames = num_frames


class Subscribers:
    """The subscribers of one generation.

    Args:
        name: the generation's.
        frames: its frames, as they are made.
        on_empty: called when the last subscriber has left.

    Attributes:
        text_states: float32 [S, D], from which the frames are made; None until they are known.
        running: whether an engine has given the generation a slot; told in heartbeats.
        error: what the generation failed with.
    """

    def __init__(self, name: str, frames: FrameBuffer, on_empty: Callable[[], None]) -> None:
        self.name = name
        self.text_states: np.ndarray | None = None
        self.running = False
        self.error: Exception | None = None
        self._frames = frames
        self._on_empty = on_empty
        self._num_frames: dict[Subscription, int] = {}
        self._delivers = False
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self._num_frames)

    @property
    def num_frames_wanted(self) -> int:
        """The most frames that any subscriber wants."""
        return max(self._num_frames.values(), default=0)

    def join(self, num_frames: int) -> Subscription:
        """Adds a subscriber to the first `num_frames`."""
        subscription = Subscription(self, num_frames)
        self._num_frames[subscription] = num_frames
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Removes a subscriber. May be called more than once."""
        if self._num_frames.pop(subscription, None) is not None and not self._num_frames:
            self._on_empty()

    def start_delivery(self) -> None:
        """Allows frames to be handed out. Called once an engine has accepted the generation.

        An engine of another kind would have to begin at the first frame, with other codes.
        """
        if not self._delivers:
            self._delivers = True
            self.notify()

    def notify(self) -> None:
        """Wakes all subscribers: there are new frames, or an error."""
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """Subscribers get the frames that exist, and then this error. The first error stays."""
        if self.error is None:
            self.error = error
            self.notify()

    def available(self, start: int, end: int) -> np.ndarray:
        """Frames `start` to `end` (not included), as far as they may be handed out: int16 [K, n]."""
        return self._frames.slice(start, end if self._delivers else start)

    async def wait(self, timeout_s: float) -> bool:
        """Waits for the next `notify`. Returns whether it came in time."""
        return bool((await asyncio.wait({self._news}, timeout=timeout_s))[0])


class Subscription:
    """One subscriber's place at a generation. Ended by `close`, or by `stream` at its end."""

    def __init__(self, subscribers: Subscribers, num_frames: int) -> None:
        self.num_frames = num_frames
        self._subscribers = subscribers

    @property
    def text_states(self) -> np.ndarray | None:
        """What the frames are made from, float32 [S, D]; known once there are any."""
        return self._subscribers.text_states

    def close(self) -> None:
        """Leaves; the last subscriber to leave ends the generation. May be called more than once."""
        self._subscribers.leave(self)

    async def stream(self, first_frame: int = 0) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        """Yields the frames from `first_frame` on as soon as they exist, and a heartbeat every second without any.

        Raises: what the generation failed with, after the frames that it has.
        """
        subscribers, at = self._subscribers, first_frame
        try:
            while at < self.num_frames:
                new = subscribers.available(at, self.num_frames)
                if new.shape[1]:
                    at += new.shape[1]
                    yield CodeFrames(subscribers.name, at - new.shape[1], new, at == self.num_frames)
                elif subscribers.error is not None:
                    raise subscribers.error.with_traceback(None)
                elif not await subscribers.wait(TIMINGS.heartbeat_s):
                    yield Heartbeat(running=subscribers.running)
        finally:
            self.close()

"""Times what users do, and tells right answers, wrong ones and refusals apart."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loadtests.load.errors import Refused, WrongAnswer
from loadtests.load.sample import Sample


class Ended(Exception):
    """What the user was about can't go on; why is recorded."""


class Recorder:
    """record: takes each sample when it is complete. clock: seconds since the run began."""

    def __init__(self, record: Callable[[Sample], None], clock: Callable[[], float]) -> None:
        self.record = record
        self.clock = clock

    @contextmanager
    def measured(self, method: str, name: str) -> Iterator[Sample]:
        """Takes the time of a block, which may add to the sample.

        Raises: Ended after a failure; Refused, which is recorded as one of another name.
        """
        sample = Sample(method, name, self.clock())
        try:
            yield sample
        except Refused:
            sample.method, sample.end = "429", "refused"
            self._complete(sample)
            raise
        except (WrongAnswer, OSError, http.client.HTTPException) as error:
            sample.end = "wrong"
            sample.failure = str(error) if isinstance(error, WrongAnswer) else f"it broke off: {error!r}"
            self._complete(sample)
            raise Ended from error
        except BaseException:
            sample.end = "cut off"
            self._complete(sample)
            raise
        self._complete(sample)

    def audio(self, name: str, of: Sample, ms: float) -> None:
        """What a listener had of an answer, as a line of its own."""
        self.record(Sample("AUDIO", name, of.at_s, ms))

    def _complete(self, sample: Sample) -> None:
        sample.ms = 1000 * (self.clock() - sample.at_s)
        self.record(sample)

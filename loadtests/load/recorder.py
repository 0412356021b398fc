"""Times what users do, and tells right responses, wrong ones and refusals apart."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loadtests.load.errors import Refused, WrongAnswer
from loadtests.load.samples import Sample


class UserTaskFailed(Exception):
    """The user's task cannot go on; the reason is recorded."""


class Recorder:
    """record: takes each sample when it is complete. clock: seconds since the run began."""

    def __init__(self, record: Callable[[Sample], None], clock: Callable[[], float]) -> None:
        self.record = record
        self.clock = clock

    @contextmanager
    def measured(self, method: str, name: str) -> Iterator[Sample]:
        """Takes the time of a block, which may add to the sample.

        Raises: UserTaskFailed after a failure; Refused, which is recorded as one of another name.
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
            raise UserTaskFailed from error
        except BaseException:
            sample.end = "cut off"
            self._complete(sample)
            raise
        self._complete(sample)

    def audio(self, name: str, of: Sample, ms: float) -> None:
        """Records what a player had of a response, as a sample of its own."""
        self.record(Sample("AUDIO", name, of.at_s, ms))

    def _complete(self, sample: Sample) -> None:
        sample.ms = 1000 * (self.clock() - sample.at_s)
        self.record(sample)

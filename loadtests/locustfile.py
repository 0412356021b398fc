"""Load on a running service, by Locust. Each response is checked, and a wrong one is a failure.

    .venv/bin/locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8000 --shape steps --levels 10,20,30

Kinds of users, as many of each as `--weights` says: `compose` requests a new clip and waits for it; `repeat` requests a
popular clip (Zipf), whose bytes have to be the same each time; `stream` streams a new clip; `job` submits, follows,
fetches in two ranges and removes; `hang-up` disconnects early. Each sends a request every `--pace` seconds on average,
at random moments that the `--seed` decides. `--shape` is how many there are: `steps` holds each of
`--levels` for `--hold` seconds, `spike` goes from the first level to the second and back, `soak` holds one level.

Two lines of the statistics are not requests: `AUDIO first audio`, from the request to the first samples, and `AUDIO
longest gap`, the longest time for which a player had nothing to play. A 429 is counted as `429`, is not a failure, and
its request is sent again after `Retry-After`.

Load goes to this machine only, unless `--allow-host` names another. An API key comes by MUSICGEN_API_KEY.
SIGTERM ends a run early, as if its last level were over.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import LoadTestShape, events
from locust.env import Environment

# Locust loads this file by its path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from loadtests.load.options import Options, add_options, options
from loadtests.load.recorder import Recorder
from loadtests.load.response_checks import RepeatChecker
from loadtests.load.samples import Sample, SampleFile
from loadtests.load.users import Composer, Impatient, Listener, Repeater, Run, Submitter, event_of, users_of

# Locust takes the users and the shape from what this file has.
__all__ = ["Composer", "Impatient", "Listener", "Load", "Repeater", "Submitter"]


class Load(LoadTestShape):
    """The number of users over time. over: no more users; those that there are finish what they have begun."""

    options: Options | None = None
    over = False

    def end(self) -> None:
        self.over = True

    def tick(self) -> tuple[int, float] | None:
        assert self.options is not None, "the options are read before anything runs"
        if self.over:
            return None
        phase = self.options.shape.at(self.get_run_time())  # type: ignore[no-untyped-call]
        # All of them come within a second: a spike is one.
        return None if phase is None else (phase.users, float(phase.users))


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add(parser: argparse.ArgumentParser, **_: Any) -> None:
    add_options(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Environment, **_: Any) -> None:
    """Ends the process with status 2 and a line on stderr where an option can't be used."""
    assert environment.parsed_options is not None
    assert isinstance(environment.shape_class, Load)
    try:
        chosen = options(environment.parsed_options)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    load = environment.shape_class
    load.options = chosen
    # Locust has a handler too, but while a shape runs it is not there yet.
    gevent.signal_handler(signal.SIGTERM, load.end)
    file = None
    if chosen.samples is not None:
        chosen.samples.parent.mkdir(parents=True, exist_ok=True)
        file = SampleFile(chosen.samples.open("w", encoding="utf-8"))

    def record(sample: Sample) -> None:
        # Locust tells nothing either of what its own users have not finished.
        if sample.end != "cut off":
            environment.events.request.fire(**event_of(sample))  # type: ignore[no-untyped-call]
        if file is not None:
            file.write(sample)

    environment.user_classes = users_of(Run(chosen, Recorder(record, load.get_run_time), RepeatChecker()))

"""`python -m serve_app.submit "words" [options]`: has music made by a running service, and saves it.

The paths of what is saved are printed on stdout, everything else on stderr. Exit status: 0 when all of it was made; 1
when something failed; 2 when an option is wrong; 130 after Ctrl-C, which the service is told of.
"""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Sequence

from serve_app.submit.bar import Bar
from serve_app.submit.client import Client, Generation, SubmitError
from serve_app.submit.options import Options, parse


def made(client: Client, options: Options, idempotency_key: str) -> Generation:
    """The generation as it has ended. Raises: SubmitError."""
    with Bar(sys.stderr, options.audio_s) as bar:
        generation = client.submit(options.body, idempotency_key)
        for state in client.follow(generation["id"]):
            bar.show(state)
            generation = state
    return generation


def fetch(client: Client, options: Options, generation: Generation) -> bool:
    """Saves what was made, and says what was not; whether that was all. Raises: SubmitError, OSError."""
    for variation in generation["variations"]:
        number, state = variation["number"], variation["state"]
        if state == "succeeded":
            path = options.path(number)
            client.fetch(generation["id"], number, options.container.name, path)
            print(path, flush=True)
        else:
            error = variation["error"]
            _say(f"variation {number + 1} {state}" + ("" if error is None else f": {error['message']}"))
    return bool(generation["state"] == "succeeded")


def cancel(client: Client, options: Options, idempotency_key: str) -> None:
    """Ends the generation, whether or not its id has come by now; says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one is enough, and this is short
    try:
        there = client.cancel(client.submit(options.body, idempotency_key, tries=1)["id"])
    except SubmitError as error:
        _say(f"not cancelled, and it may go on: {error}")
    else:
        _say("cancelled" if there else "it is not there any more")


def main(arguments: Sequence[str]) -> int:
    """Submits, follows, saves; returns the exit status."""
    options = parse(arguments)
    idempotency_key = secrets.token_hex(16)
    with Client(options.url, options.key) as client:
        try:
            try:
                generation = made(client, options, idempotency_key)
            except KeyboardInterrupt:
                cancel(client, options, idempotency_key)
                return 130
            return 0 if fetch(client, options, generation) else 1
        except KeyboardInterrupt:
            _say(f"stopped; the service still has the music: {client.address(generation['id'])}")
            return 130
        except SubmitError as error:
            _say(str(error))
            return 1
        except OSError as error:
            _say(f"{options.out} can't be written: {error.strerror or error}")
            return 1


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

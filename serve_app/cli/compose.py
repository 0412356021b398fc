"""What the command is told.

`python -m serve_app.submit "words" [options]`: has music made by a running service, and saves it.

The paths of what is saved are printed on stdout, everything else on stderr. Exit status: 0 when all of it was made; 1
when something failed; 2 when an option is wrong; 130 after Ctrl-C, which the service is told of.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serve_app.cli.progress import Bar
from serve_app.client import Client, Generation, SubmitError
from serve_app.job import QUEUE_CLASSES
from serve_app.launcher.clip import slug
from serve_app.sound.containers import CONTAINER_FORMATS, ContainerFormat

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "MUSICGEN_API_KEY"

_BY_SUFFIX = {f".{container.extension}": container for container in CONTAINER_FORMATS.values()}


@dataclass(frozen=True)
class Options:
    """body: as POST /v1/generations takes it. key: None where none is needed. out: of the clip; several get numbers."""

    body: Mapping[str, Any]
    url: str
    key: str | None
    out: Path
    container: ContainerFormat

    @property
    def variations(self) -> int:
        return int(self.body.get("variations", 1))

    @property
    def audio_s(self) -> float:
        """Seconds of music, of all variations."""
        return float(self.variations * self.body["music_length_ms"] / 1000)

    def path(self, number: int) -> Path:
        """Where a variation goes: clip.mp3, or clip-1.mp3 and so on."""
        return self.out if self.variations == 1 else self.out.with_stem(f"{self.out.stem}-{number + 1}")


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """The options. Ends the process with status 2 and a line on stderr where one can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.submit", description="Have music made by a running service, and save it."
    )
    parser.add_argument("words", help="what the music is like")
    parser.add_argument("--duration", type=_seconds, default=10.0, metavar="SECONDS", help="of music; 10 without")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where to; its end says how: {', '.join(_BY_SUFFIX)}")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"of the service; {DEFAULT_URL} without")
    parser.add_argument("--model", help="one that the service lists at /v1/models")
    parser.add_argument("--seed", type=int, help="the same seed with the same words gives the same sound")
    parser.add_argument("--variations", type=int, metavar="N", help="so many takes of the same words")
    parser.add_argument("--queue", choices=QUEUE_CLASSES, help="realtime goes first")
    parser.add_argument("--key", help=f"an API key; better in the variable {KEY_VARIABLE}, where others don't see it")
    given = parser.parse_args(arguments)
    out: Path = given.out or Path(f"{slug(given.words)}.wav")
    if out.suffix.lower() not in _BY_SUFFIX:
        parser.error(f"--out must end in one of {', '.join(_BY_SUFFIX)}")
    if not out.parent.is_dir():
        parser.error(f"--out is in a folder that does not exist: {out.parent}")
    if given.variations is not None and given.variations < 1:
        parser.error("--variations must be 1 or more")
    if not _is_address(given.url):
        parser.error(f"--url must be an address like {DEFAULT_URL}")
    key = given.key or environment.get(KEY_VARIABLE) or None
    if key is not None and not re.fullmatch("[!-~]+", key):
        parser.error("the API key must be printable ASCII without spaces")
    body = {
        "prompt": given.words,
        "music_length_ms": round(1000 * given.duration),
        "model_id": given.model,
        "seed": given.seed,
        "variations": given.variations,
        "queue": given.queue,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return Options(body, given.url.rstrip("/"), key, out, _BY_SUFFIX[out.suffix.lower()])


def _is_address(url: str) -> bool:
    try:
        port = httpx.URL(url).port
    except httpx.InvalidURL:
        return False
    if port is not None and not 0 < port < 2**16:
        return False
    return re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) is not None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0.001):
        raise ValueError
    return seconds


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

"""`musicgen compose "words"`: asks a running service for music, and saves it while it is made."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import typer

from serve_app.cli.options import (
    CONTAINERS,
    DEFAULT_URL,
    CacheChoice,
    Duration,
    Json,
    Key,
    Model,
    Out,
    Seed,
    Url,
    Words,
)
from serve_app.cli.terminal import INTERRUPTED, Bar, CommandError, print_json, printable, say
from serve_app.client import Client, ClientError, saved, slug


def compose(
    words: Words,
    duration: Duration = 10.0,
    seed: Seed = None,
    out: Out = None,
    model: Model = None,
    cache: Annotated[
        CacheChoice, typer.Option(help="Whether a clip that the service has cached will do.")
    ] = CacheChoice.USE,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> int | None:
    """Ask a running service for music, and save it while it is made. `musicgen serve` starts a service.

    Example: musicgen compose "a slow waltz" --duration 30 --seed 7 --out waltz.mp3
    """
    path = _free_path(f"{slug(words)}.wav") if out is None else out
    body: dict[str, object] = {"prompt": words, "music_length_ms": round(1000 * duration), "cache": cache.value}
    body |= {name: value for name, value in (("seed", seed), ("model_id", model)) if value is not None}
    began_s = time.monotonic()
    try:
        with (
            Client(url, key) as client,
            Bar(sys.stderr, duration, "waiting") as bar,
            client.stream(body, CONTAINERS[path.suffix.lower()]) as answer,
        ):
            first_sound_s = time.monotonic() - began_s
            saved(path, _shown(answer, bar))
            took_s = time.monotonic() - began_s
    except KeyboardInterrupt:
        say("stopped; nothing is saved")
        return INTERRUPTED
    except ClientError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror or error}") from error
    clip = {
        "file": str(path),
        "prompt": words,
        "duration_s": int(answer.headers["X-Duration-Ms"]) / 1000,
        "seed": int(answer.headers["X-Seed"]),
        "model": answer.headers["X-Model"],
        "license": answer.headers["X-Model-License"],
        "cache": answer.headers["X-Cache"],
        "generation_id": answer.headers["X-Generation-Id"],
        "first_sound_s": round(first_sound_s, 3),
        "took_s": round(took_s, 3),
    }
    if json:
        print_json(clip)
        return None
    say(
        f"{clip['duration_s']:g} s of music in {took_s:.1f} s, the first sound after {first_sound_s:.2f} s "
        f"(cache: {clip['cache']}); seed {clip['seed']}, model {clip['model']}, "
        f"licence of its weights {clip['license']}"
    )
    print(printable(str(path)))
    return None


def _shown(answer: httpx.Response, bar: Bar) -> Iterator[bytes]:
    """The pieces as they come; how many of them there will be is known for some containers only."""
    total_bytes = int(answer.headers.get("Content-Length", 0))
    got_bytes = 0
    for piece in answer.iter_bytes():
        got_bytes += len(piece)
        if total_bytes:
            bar.update("composing", min(1.0, got_bytes / total_bytes))
        else:
            bar.update_unknown("composing", got_bytes)
        yield piece
    bar.update("composed", 1.0)


def _free_path(name: str) -> Path:
    """Here, and in place of no other file."""
    path, number = Path(name), 1
    while path.exists():
        number += 1
        path = Path(name).with_stem(f"{Path(name).stem}-{number}")
    return path

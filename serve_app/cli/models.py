"""`musicgen models`: what a running service offers."""

from __future__ import annotations

from serve_app.cli.options import DEFAULT_URL, Json, Key, Url
from serve_app.cli.terminal import CommandError, print_json, print_table


def models(url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """List the models of a running service, with the licences of their weights.

    Example: musicgen models
    """
    from serve_app.client import Client, ClientError

    try:
        with Client(url, key) as client:
            document = client.models()
    except ClientError as error:
        raise CommandError(str(error)) from error
    if json:
        print_json(document)
        return
    print_table(
        ("model", "default", "up to", "sound", "licence", "revision"),
        [
            (
                each["name"],
                "default" if each["default"] else "",
                f"{each['max_music_length_ms'] / 1000:g} s",
                _sound(each["sample_rate"], each["channels"]),
                each["license"],
                (each["revision"] or "")[:12],
            )
            for each in document["models"]
        ],
    )


def _sound(sample_rate: int | None, channels: int | None) -> str:
    if sample_rate is None or channels is None:
        return "not loaded yet"
    return f"{sample_rate / 1000:g} kHz {'stereo' if channels == 2 else 'mono'}"

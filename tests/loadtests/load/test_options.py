"""What the command line means, and what it refuses."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from loadtests.load.options import DEFAULT_WEIGHTS, Options, add_options, checked_target, options


def parsed(*arguments: str, host: str = "http://127.0.0.1:8000", key: str | None = None) -> Options:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    add_options(parser)
    environment = {} if key is None else {"MUSICGEN_API_KEY": key}
    return options(parser.parse_args(["--host", host, *arguments]), environment)


def test_without_options_the_load_is_bounded_and_goes_to_this_machine() -> None:
    chosen = parsed()
    assert chosen.url == "http://127.0.0.1:8000"
    assert (chosen.shape.max_users, chosen.shape.duration_s) == (30, 60)
    assert chosen.weights == DEFAULT_WEIGHTS
    assert (chosen.lengths_ms, chosen.api_key, chosen.samples) == ((2000, 4000, 6000), None, None)


def test_every_option_is_heard() -> None:
    chosen = parsed(
        *("--weights", "stream=4,job=1", "--lengths", "0.5,30", "--shape", "spike", "--levels", "1,9", "--hold", "3"),
        *("--samples", "x.jsonl", "--seed", "7", "--pace", "0.5", "--queue", "realtime", "--silence", "5"),
        key="a-key",
    )
    assert chosen.weights == {"compose": 0, "repeat": 0, "stream": 4, "job": 1, "hang-up": 0}
    assert (chosen.lengths_ms, [phase.users for phase in chosen.shape.phases]) == ((500, 30_000), [1, 9, 1])
    assert (chosen.samples, chosen.seed, chosen.pace_s) == (Path("x.jsonl"), 7, 0.5)
    assert (chosen.queue, chosen.silence_s, chosen.api_key) == ("realtime", 5, "a-key")


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (("--weights", "strem=1"), "--weights knows compose, repeat, stream, job, hang-up"),
        (("--weights", "stream"), "whole numbers"),
        (("--weights", "stream=0"), "one of them above 0"),
        (("--lengths", "2;4"), "with commas"),
        (("--lengths", "0.1"), "from 0.5 to 30 s"),
        (("--lengths", "nan"), "from 0.5 to 30 s"),
        (("--levels", "ten"), "whole numbers"),
        (("--levels", "1000"), "200 users and takes 3600 s at most"),
        (("--hold", "2000"), "200 users and takes 3600 s at most"),
        (("--hold", "0"), "at most"),
        (("--pace", "0"), "above 0"),
        (("--pace", "nan"), "above 0"),
    ],
)
def test_what_can_not_be_is_refused_with_what_could(arguments: tuple[str, ...], right: str) -> None:
    with pytest.raises(ValueError, match=right):
        parsed(*arguments)


def test_another_machine_has_to_be_named_and_a_key_that_is_none_is_not_told() -> None:
    with pytest.raises(ValueError, match="--allow-host"):
        parsed(host="http://music.example.com")
    assert parsed("--allow-host", "music.example.com", host="http://music.example.com").url.endswith("example.com")
    with pytest.raises(ValueError, match="without spaces") as caught:
        parsed(key="two words")
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.5.0.1", "http://127.5.0.1"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://[::1]:8000/music/", "http://[::1]:8000/music"),
        ("https://127.0.0.1", "https://127.0.0.1"),
    ],
)
def test_this_machine_is_a_target(url: str, checked: str) -> None:
    assert checked_target(url, []) == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.0.1",
        "http://0.0.0.0:8000",
        "http://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://[::ffff:192.168.0.1]",
    ],
)
def test_no_other_machine_is_one_unless_it_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="this machine only"):
        checked_target(url, ["other.example.com"])


def test_a_machine_that_is_named_is_a_target_however_it_is_spelt() -> None:
    assert checked_target("http://Music.example.com:80", ["music.Example.com"]) == "http://Music.example.com:80"


@pytest.mark.parametrize("url", [None, "", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://u:p@127.0.0.1"])
def test_what_is_no_address_is_told_what_one_looks_like(url: str | None) -> None:
    with pytest.raises(ValueError, match="address like"):
        checked_target(url, [])

"""`musicgen jobs submit | list | follow | cancel | fetch`: music that is made whether or not anybody waits for it.

The paths of what is saved are printed on standard output, everything else on standard error.
"""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli.options import (
    CONTAINERS,
    DEFAULT_URL,
    Duration,
    JobId,
    Json,
    Key,
    Model,
    Out,
    QueueChoice,
    Seed,
    Url,
    Words,
)
from serve_app.cli.terminal import (
    DONE,
    FAILED,
    INTERRUPTED,
    Bar,
    CommandError,
    print_json,
    print_table,
    printable,
    say,
    shortened,
)
from serve_app.client import ENDED, Client, ClientError, Job, slug

HELP = "Have music made in the background: submit jobs, follow them, fetch what was made."


@dataclass(frozen=True)
class Target:
    """Where the sound of a job goes. Several variations get numbers: clip.mp3, or clip-1.mp3 and so on."""

    out: Path
    variations: int

    @property
    def container(self) -> str:
        """As the service names it."""
        return CONTAINERS[self.out.suffix.lower()]

    def path(self, number: int) -> Path:
        """Of a variation, from 0."""
        return self.out if self.variations == 1 else self.out.with_stem(f"{self.out.stem}-{number + 1}")


@dataclass(frozen=True)
class SubmitCommand:
    """What is submitted, and where. body: as POST /v1/generations takes it. key: None where none is needed."""

    body: Mapping[str, Any]
    url: str
    key: str | None
    target: Target

    @property
    def audio_s(self) -> float:
        """Seconds of music, of all variations."""
        return float(self.target.variations * self.body["music_length_ms"] / 1000)


def submit(
    words: Words,
    duration: Duration = 10.0,
    out: Out = None,
    model: Model = None,
    seed: Seed = None,
    variations: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="So many takes of the same words.", show_default="1")
    ] = None,
    queue: Annotated[QueueChoice | None, typer.Option(help="realtime goes first.", show_default="batch")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id, and don't wait for it.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> int:
    """Submit a job, follow it, and save what it makes. Ctrl-C cancels the job.

    Example: musicgen jobs submit "a slow waltz" --duration 30 --variations 3 --out waltz.mp3
    """
    given = {
        "prompt": words,
        "music_length_ms": round(1000 * duration),
        "model_id": model,
        "seed": seed,
        "variations": variations,
        "queue": None if queue is None else queue.value,
    }
    body = {name: value for name, value in given.items() if value is not None}
    target = Target(out or Path(f"{slug(words)}.wav"), variations or 1)
    return run_submission(SubmitCommand(body, url, key, target), detach=detach, as_json=json)


def run_submission(submission: SubmitCommand, *, detach: bool, as_json: bool) -> int:
    """Submits; unless detached, follows and saves. Returns the exit status."""
    idempotency_key = secrets.token_hex(16)
    with _client(submission.url, submission.key) as client:
        if detach:
            job = client.submit(submission.body, idempotency_key)
            if as_json:
                print_json(job)
            else:
                print(job["id"])
            return DONE
        try:
            with Bar(sys.stderr, submission.audio_s) as bar:
                job = client.submit(submission.body, idempotency_key)
                job = _followed(client, job, bar)
        except KeyboardInterrupt:
            _cancel_submission(client, submission, idempotency_key)
            return INTERRUPTED
        return _save(client, job, submission.target, as_json)


def list_jobs(
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="So many, the newest first.")] = 20,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """List your jobs, the newest first.

    Example: musicgen jobs list --limit 5
    """
    with _client(url, key) as client:
        page = client.jobs(limit)
    if json:
        print_json(page)
        return
    rows = []
    for job in page["generations"]:
        takes, length_s = len(job["variations"]), job["music_length_ms"] / 1000
        music = f"{length_s:g} s" if takes == 1 else f"{takes} x {length_s:g} s"
        submitted = job["created_at"][:16].replace("T", " ")
        rows.append((job["id"], job["state"], f"{job['progress']:.0%}", music, submitted, shortened(job["prompt"])))
    print_table(("job", "state", "made", "music", "submitted (UTC)", "words"), rows)


def follow(job_id: JobId, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> int:
    """Follow a job until it has ended. Ctrl-C leaves the job alone.

    Example: musicgen jobs follow 0123456789abcdef0123456789abcdef
    """
    with _client(url, key) as client:
        try:
            job = client.find(job_id)
            with Bar(sys.stderr, _audio_s(job), "following") as bar:
                job = _followed(client, job, bar)
        except KeyboardInterrupt:
            say(f"stopped; the job goes on: {client.address(job_id)}")
            return INTERRUPTED
    if json:
        print_json(job)
    _say_failures(job)
    return DONE if job["state"] == "succeeded" else FAILED


def cancel(job_id: JobId, url: Url = DEFAULT_URL, key: Key = None, json: Json = False) -> None:
    """Cancel a job that is under way. One that has ended is left as it is.

    Example: musicgen jobs cancel 0123456789abcdef0123456789abcdef
    """
    with _client(url, key) as client:
        job = client.find(job_id)
        # To delete one that has ended would remove its music.
        if job["state"] in ENDED:
            raise CommandError(f"the job has ended already ({job['state']}); there is nothing to cancel")
        client.cancel(job_id)
        job = client.find(job_id)
    if json:
        print_json(job)
    else:
        say("cancelled")


def fetch(
    job_id: JobId,
    out: Out = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> int:
    """Save what a job has made.

    Example: musicgen jobs fetch 0123456789abcdef0123456789abcdef --out waltz.flac
    """
    with _client(url, key) as client:
        job = client.find(job_id)
        if job["state"] not in ENDED:
            raise CommandError(f"the job is {job['state']}; `musicgen jobs follow {job_id}` waits for its end")
        target = Target(out or Path(f"{slug(job['prompt'])}.wav"), len(job["variations"]))
        return _save(client, job, target, json)


COMMANDS: dict[str, Callable[..., Any]] = {
    "submit": submit,
    "list": list_jobs,
    "follow": follow,
    "cancel": cancel,
    "fetch": fetch,
}


@contextmanager
def _client(url: str, key: str | None) -> Iterator[Client]:
    """Raises: CommandError where the service can't do it."""
    try:
        with Client(url, key) as client:
            yield client
    except ClientError as error:
        raise CommandError(str(error)) from error


def _audio_s(job: Job) -> float:
    return float(len(job["variations"]) * job["music_length_ms"] / 1000)


def _followed(client: Client, job: Job, bar: Bar) -> Job:
    """The job as it has ended."""
    for state in client.follow(job["id"]):
        bar.show(state)
        job = state
    return job


def _save(client: Client, job: Job, target: Target, as_json: bool) -> int:
    """Saves what was made, and says what was not; the exit status."""
    files = []
    try:
        for variation in job["variations"]:
            number = variation["number"]
            if variation["state"] == "succeeded":
                path = target.path(number)
                client.fetch(job["id"], number, target.container, path)
                files.append(str(path))
                if not as_json:
                    print(printable(str(path)), flush=True)
    except KeyboardInterrupt:
        say(f"stopped; the service still has the music: {client.address(job['id'])}")
        return INTERRUPTED
    except OSError as error:
        raise CommandError(f"{target.out} can't be written: {error.strerror or error}") from error
    _say_failures(job)
    if as_json:
        print_json({**job, "files": files})
    return DONE if job["state"] == "succeeded" else FAILED


def _say_failures(job: Job) -> None:
    for variation in job["variations"]:
        if variation["state"] != "succeeded":
            error = variation["error"]
            why = "" if error is None else f": {error['message']}"
            say(f"variation {variation['number'] + 1} {variation['state']}{why}")


def _cancel_submission(client: Client, submission: SubmitCommand, idempotency_key: str) -> None:
    """Ends the job, whether or not its id has come by now; says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one is enough, and this is short
    try:
        is_there = client.cancel(client.submit(submission.body, idempotency_key, tries=1)["id"])
    except ClientError as error:
        say(f"not cancelled, and it may go on: {error}")
    else:
        say("cancelled" if is_there else "it is not there any more")

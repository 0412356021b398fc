"""The file in which clients find their keys, written over while they run."""

from __future__ import annotations

from pathlib import Path

from tests.s3_server import ACCESS_KEY, SECRET_KEY, Keys

USER_KEYS: Keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}


def write_keys(file: Path, keys: Keys) -> None:
    """As boto3 finds them, in the place of those before."""
    file.parent.mkdir(exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text("\n".join(["[default]", *(f"{name} = {value}" for name, value in keys.items())]) + "\n")
    new.replace(file)

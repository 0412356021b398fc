"""The S3 server that tests get refuses what Amazon's would, and can be taken away."""

from __future__ import annotations

import contextlib
from pathlib import Path

import boto3
import psutil
import pytest

from tests.s3_server import S3Server, s3_server


def status(session: boto3.Session, url: str, bucket: str) -> int:
    """Of the answer to whether the bucket is there."""
    with contextlib.closing(session.client("s3", endpoint_url=url)) as client:
        try:
            answer = client.head_bucket(Bucket=bucket)
        except client.exceptions.ClientError as error:
            answer = error.response
    code: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return code


def test_it_takes_the_right_secret_and_no_other(s3: S3Server, bucket: str) -> None:
    assert status(s3.session(), s3.url, bucket) == 200
    assert status(s3.session("wrong"), s3.url, bucket) == 403


def test_a_suspended_user_and_one_without_a_key_are_refused_until_that_is_over(s3: S3Server, bucket: str) -> None:
    for fault in (s3.suspended_user, s3.removed_key):
        with fault():
            assert status(s3.session(), s3.url, bucket) == 403
        assert status(s3.session(), s3.url, bucket) == 200


def test_a_session_is_taken_until_it_is_over(s3: S3Server, bucket: str) -> None:
    with s3.lender() as lender:
        for keys, expected in ((lender.lent_keys(), 200), (lender.expired_keys(bucket), 403)):
            assert status(boto3.Session(**keys, region_name="us-east-1"), lender.url, bucket) == expected


@pytest.mark.server
def test_nothing_of_a_server_is_left_even_if_it_is_suspended(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with s3_server(tmp_path) as server:
        started = set(psutil.Process().children(recursive=True)) - before
        assert started
        server.pause()
    assert not any(process.is_running() for process in started)

"""Keys that expire: a gateway to the test server's store that lends sessions of a second, and the file clients read."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
from botocore.config import Config

from tests.s3_server import ACCESS_KEY, SECRET_KEY, USER, S3Server, free_ports

Keys = Mapping[str, str]
USER_KEYS: Keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}


def write_keys(file: Path, keys: Keys) -> None:
    """As boto3 finds them, in the place of those before."""
    file.parent.mkdir(exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text("\n".join(["[default]", *(f"{name} = {value}" for name, value in keys.items())]) + "\n")
    new.replace(file)


@contextlib.contextmanager
def lending_gateway(s3: S3Server) -> Iterator[str]:
    """Its URL. Whoever has a session of its role may do all there."""
    may_lend = {"Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{USER}"]}, "Action": ["sts:AssumeRole"]}
    may_do_all = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    (port,) = free_ports(1)
    role = f"--role-name={_role(f'http://127.0.0.1:{port}')}"
    s3.admin("role", "create", role, f"--assume-role-policy-doc={_policy(may_lend)}")
    s3.admin("role-policy", "put", role, "--policy-name=all", f"--policy-doc={_policy(may_do_all)}")
    options = {
        "rgw_frontends": f"beast endpoint=127.0.0.1:{port}",
        "rgw_s3_auth_use_sts": "true",
        "rgw_sts_key": "sixteen letters!",
        "rgw_sts_min_session_duration": "1",
    }
    command = ["radosgw", "-c", str(s3.folder / "ceph.conf"), "-f", "-n", "client.lending"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (s3.folder / "lending.out").open("wb") as out:
        gateway = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        while gateway.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            time.sleep(0.1)
        yield url
    finally:
        # In good order: for one that just vanishes, every change of a user would wait for half a minute.
        gateway.terminate()
        gateway.wait()


def _role(url: str) -> str:
    """Each gateway's own: the store outlives them."""
    return f"keeper-{url.rsplit(':')[-1]}"


def lent_keys(s3: S3Server, url: str, duration_s: int) -> Keys:
    """Of a session."""
    # Amazon lends for a quarter of an hour at least, and boto3 knows that.
    config = Config(parameter_validation=False)
    with contextlib.closing(s3.session().client("sts", endpoint_url=url, config=config)) as sts:
        lent = sts.assume_role(
            RoleArn=f"arn:aws:iam:::role/{_role(url)}", RoleSessionName="test", DurationSeconds=duration_s
        )["Credentials"]
    return {
        "aws_access_key_id": lent["AccessKeyId"],
        "aws_secret_access_key": lent["SecretAccessKey"],
        "aws_session_token": lent["SessionToken"],
    }


def expired_keys(s3: S3Server, url: str, bucket: str) -> Keys:
    """Of a session that is over, as the gateway says."""
    keys = lent_keys(s3, url, 1)
    client = boto3.Session(**keys, region_name="us-east-1").client("s3", endpoint_url=url)
    with contextlib.closing(client), contextlib.suppress(client.exceptions.ClientError):
        while True:
            client.head_bucket(Bucket=bucket)
            time.sleep(0.1)
    return keys


def _policy(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

"""The IAM policies of the page on AWS keep to IAM's grammar, name actions that exist, and grant what the page promises.

The grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from typing import Any

import botocore.session
import pytest
import yaml

from deployments.paths import ROOT
from tests.docs.pages import blocks

TRUST, HEAD, WORKER = (json.loads(code) for language, code in blocks(ROOT / "docs" / "aws.md") if language == "json")

OPERATORS = {"StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool"}
# Where IAM's name for an action is not that of an operation, or its service not that of botocore.
SERVICES = {"elasticloadbalancing": "elbv2"}
NO_OPERATION = {"iam:PassRole", "s3:ListBucket"}
ARN = re.compile(r"arn:aws:[a-z0-9-]+:[a-z0-9-]*:(\d{12})?:[\w*/.:-]+")


@cache
def operations(service: str) -> list[str]:
    return list(botocore.session.get_session().get_service_model(SERVICES.get(service, service)).operation_names)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def complaints(policy: dict[str, Any]) -> list[str]:
    """What IAM would find wrong with it."""
    found = [f"unknown key {key}" for key in policy.keys() - {"Version", "Id", "Statement"}]
    if policy.get("Version") != "2012-10-17":
        found.append("version")
    statements = as_list(policy.get("Statement", []))
    sids = [each["Sid"] for each in statements if "Sid" in each]
    if len(set(sids)) < len(sids):
        found.append("a Sid comes twice")
    return found + [complaint for each in statements for complaint in _of_statement(each)]


def _of_statement(statement: dict[str, Any]) -> list[str]:
    known = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    found = [f"unknown key {key}" for key in statement.keys() - known]
    if not re.fullmatch("[A-Za-z0-9]*", statement.get("Sid", "")):
        found.append("a Sid is letters and digits")
    if statement.get("Effect") not in ("Allow", "Deny"):
        found.append("no effect")
    if ("Principal" in statement) == ("Resource" in statement):
        found.append("a policy of a role has resources, and a trust policy a principal")
    found += [f"no action {each}" for each in as_list(statement.get("Action", "")) if not _is_action(each)]
    found += [
        f"no ARN {each}" for each in as_list(statement.get("Resource", "*")) if each != "*" and not ARN.fullmatch(each)
    ]
    for operator, tests in statement.get("Condition", {}).items():
        if operator not in OPERATORS or not all(re.fullmatch(r"[a-z0-9]+:[\w/-]+", key) for key in tests):
            found.append(f"condition {operator}")
    return found


def _is_action(action: str) -> bool:
    service, _, name = action.partition(":")
    if action in NO_OPERATION:
        return True
    try:
        known = operations(service)
    except botocore.exceptions.UnknownServiceError:
        return False
    pattern = re.escape(name).replace(r"\*", ".*")
    return bool(name) and any(re.fullmatch(pattern, each) for each in known)


def granted(policy: dict[str, Any]) -> set[str]:
    return {action for each in policy["Statement"] for action in as_list(each["Action"])}


@pytest.mark.parametrize("policy", [TRUST, HEAD, WORKER], ids=["trust", "head", "worker"])
def test_iam_takes_a_policy(policy: dict[str, Any]) -> None:
    assert complaints(policy) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Sid", "with spaces"),
        ("Effect", "allow"),
        ("Action", "ec2:RunInstance"),
        ("Action", "nothing:Run"),
        ("Resource", "my-bucket"),
        ("Principal", {"Service": "ec2.amazonaws.com"}),
        ("Condition", {"StringEqual": {"aws:RequestedRegion": "us-west-2"}}),
        ("Ressource", "*"),
    ],
)
def test_a_mistake_is_found(key: str, value: object) -> None:
    policy = copy.deepcopy(HEAD)
    policy["Statement"][0][key] = value
    assert complaints(policy)


def test_they_grant_what_each_node_does_and_nothing_of_another_cluster() -> None:
    common = {
        "ssm:GetParametersByPath",
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchGetImage",
    }
    assert granted(HEAD) == common | {
        "ec2:RunInstances",
        "ec2:TerminateInstances",
        "ec2:CreateTags",
        "ec2:CreateKeyPair",
        "ec2:Describe*",
        "ssm:GetParameters",
        "iam:PassRole",
    }
    assert granted(WORKER) == common | {
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:PutObjectTagging",
        "s3:DeleteObject",
        "elasticloadbalancing:RegisterTargets",
    }
    (ends,) = (each for each in HEAD["Statement"] if "ec2:TerminateInstances" in as_list(each["Action"]))
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    assert ends["Condition"] == {"StringEquals": {"ec2:ResourceTag/ray-cluster-name": cluster["cluster_name"]}}


def test_they_name_what_the_cluster_and_its_application_name() -> None:
    """The bucket of checkpoints, the target group, the account, the image, the cache's bucket and prefix."""
    text = (ROOT / "cluster.yaml").read_text() + (ROOT / "serve_app" / "configs" / "aws.yaml").read_text()
    resources = {each for policy in (HEAD, WORKER) for one in policy["Statement"] for each in as_list(one["Resource"])}
    for word in ("my-musicgen-models", "my-musicgen-cache", "targetgroup/musicgen/0123456789abcdef", "123456789012"):
        assert word in text
        assert any(word in each for each in resources)
    assert "arn:aws:s3:::my-musicgen-cache/musicgen/*" in resources

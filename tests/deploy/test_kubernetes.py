"""The manifest is what KubeRay and Kubernetes take, and its application is that of aws.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kuberay import complaints
from tests.deploy.placing import Group, selectors, unplaceable
from tests.deploy.planted import Path as Place
from tests.deploy.planted import mappings, planted

ROOT = Path(__file__).parents[2]
MANIFEST: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "kubernetes" / "rayservice.yaml").read_text()))
AWS: dict[str, Any] = yaml.safe_load((ROOT / "serve_app" / "configs" / "aws.yaml").read_text())
[SERVICE] = [one for one in MANIFEST if one["kind"] == "RayService"]
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
WORKERS = {one["groupName"]: one for one in CLUSTER["workerGroupSpecs"]}
PODS = {"head": CLUSTER["headGroupSpec"]["template"]} | {name: one["template"] for name, one in WORKERS.items()}


def test_every_resource_is_one_that_kubernetes_and_kuberay_take() -> None:
    assert {one["kind"]: complaints(one) for one in MANIFEST} == {one["kind"]: [] for one in MANIFEST}


@pytest.mark.parametrize("resource", MANIFEST, ids=lambda one: one["kind"])
def test_an_unknown_key_is_found_at_every_level(resource: dict[str, Any]) -> None:
    passed_over: list[Place] = [place for place in mappings(resource) if not complaints(planted(resource, place))]
    assert passed_over == []


def test_a_value_of_another_type_is_found() -> None:
    wrong = planted(SERVICE, ("spec", "rayClusterConfig", "workerGroupSpecs", 0))
    del wrong["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["unknownKey"]
    assert complaints(wrong) == []
    wrong["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["minReplicas"] = "2"
    [complaint] = complaints(wrong)
    assert complaint == "$.spec.rayClusterConfig.workerGroupSpecs[0].minReplicas: '2' is not of type 'integer'"


def test_the_application_is_that_of_aws_yaml_to_the_last_key() -> None:
    # Nothing has to differ: where they run is told by labels, which both kinds of cluster have.
    assert yaml.safe_load(SERVICE["spec"]["serveConfigV2"]) == AWS


def test_every_replica_has_a_group_and_what_is_waited_for_none_that_vanishes() -> None:
    groups = [
        Group(
            name,
            one["labels"],
            float(one["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]),
            float(one["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)),
        )
        for name, one in WORKERS.items()
    ]
    assert unplaceable(AWS, groups) == []
    spot = [group.labels for group in groups if group.is_spot]
    assert len(spot) == 1
    for deployment, labels in selectors(AWS):
        if not deployment.endswith("-batch-language-model"):
            assert not any(labels.items() <= each.items() for each in spot), deployment


def test_the_head_has_no_work_and_no_clients() -> None:
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert SERVICE["spec"]["excludeHeadPodFromServeSvc"] is True


@pytest.mark.parametrize("name", PODS)
def test_no_pod_is_root_or_may_become_it(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("name", WORKERS)
def test_a_pod_that_is_told_to_go_drains_its_ray_node_within_its_grace(name: str) -> None:
    spec = PODS[name]["spec"]
    [container] = spec["containers"]
    *command, deadline_s = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["musicgen", "node", "drain", "--deadline-s"]
    assert 0 < float(deadline_s) < spec["terminationGracePeriodSeconds"]
    if WORKERS[name]["labels"]["ray.io/market-type"] == "spot":
        assert spec["terminationGracePeriodSeconds"] <= 120
        assert spec["nodeSelector"]["karpenter.sh/capacity-type"] == "spot"
    else:
        assert spec["nodeSelector"]["karpenter.sh/capacity-type"] == "on-demand"


def test_whoever_ends_connections_has_as_long_as_an_answer_may_take() -> None:
    grace_s = PODS["cpu"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > AWS["http_options"]["request_timeout_s"]


def test_clients_reach_the_group_that_stays() -> None:
    [service] = [one for one in MANIFEST if one["kind"] == "Service"]
    labels = {name: PODS[name]["metadata"]["labels"] | one["labels"] for name, one in WORKERS.items()}
    reached = [name for name, each in labels.items() if service["spec"]["selector"].items() <= each.items()]
    assert reached == ["cpu"]
    assert service["spec"]["ports"][0]["targetPort"] == AWS["http_options"]["port"]


def test_secrets_are_references() -> None:
    redis = CLUSTER["gcsFaultToleranceOptions"]["redisPassword"]
    values = [redis, *(each for pod in PODS.values() for each in pod["spec"]["containers"][0].get("env", []))]
    secret = [each for each in values if "password" in str(each).lower()]
    assert len(secret) == 2
    assert all("value" not in each and "secretKeyRef" in each["valueFrom"] for each in secret)

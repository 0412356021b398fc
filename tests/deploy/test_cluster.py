"""cluster.yaml is what Ray's launcher and EC2 take, and its groups are those that aws.yaml places replicas on."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import ray.autoscaler
import yaml
from botocore.model import Shape
from botocore.validate import ParamValidator
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.placing import Group, selectors, unplaceable
from tests.deploy.planted import Path as Place
from tests.deploy.planted import mappings, planted

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster.yaml").read_text()
AWS: dict[str, Any] = yaml.safe_load((ROOT / "serve_app" / "configs" / "aws.yaml").read_text())
# Aliases become mappings of their own, so that each can be changed alone.
CLUSTER: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(TEXT)))
NODE_TYPES: dict[str, dict[str, Any]] = CLUSTER["available_node_types"]
WORKERS = [name for name in NODE_TYPES if name != CLUSTER["head_node_type"]]
SPOT = [name for name in WORKERS if NODE_TYPES[name]["labels"]["ray.io/market-type"] == "spot"]


@cache
def run_instances() -> Shape:
    """What EC2 takes to start instances."""
    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def ray_complaint(cluster: dict[str, Any]) -> str | None:
    """What Ray's launcher says of it before it asks AWS for anything."""
    try:
        validate_config(prepare_config(copy.deepcopy(cluster)))
    except (jsonschema.ValidationError, ValueError, TypeError, AttributeError) as error:
        return str(error)  # of what isn't even a mapping, Ray says that by an AttributeError
    # Ray takes any key there, as providers of others have their own.
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    unknown = cluster["provider"].keys() - schema["properties"]["provider"]["properties"].keys() - {"use_internal_ips"}
    return f"provider: {unknown}" if unknown else None


def ec2_complaint(node_config: dict[str, Any]) -> str:
    """What is wrong with the request that Ray makes of it: one subnet of several, and how many instances."""
    request = {**node_config, "MinCount": 1, "MaxCount": 1}
    request["SubnetId"] = request.pop("SubnetIds")[0]
    return str(ParamValidator().validate(request, run_instances()).generate_report())


def complaints(cluster: dict[str, Any]) -> list[str]:
    """What Ray's launcher says of it; and if that is nothing, what EC2 would."""
    if said := ray_complaint(cluster):
        return [said]
    reports = (ec2_complaint(one["node_config"]) for one in cluster["available_node_types"].values())
    return [each for each in reports if each]


def test_ray_and_ec2_take_it() -> None:
    assert complaints(CLUSTER) == []


def test_an_unknown_key_is_found_at_every_level() -> None:
    passed_over: list[Place] = [place for place in mappings(CLUSTER) if not complaints(planted(CLUSTER, place))]
    assert passed_over == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("cache_stopped_node",), True, "Additional properties are not allowed ('cache_stopped_node' was unexpected)"),
        (("available_node_types", "cpu", "lables"), {}, "Additional properties are not allowed ('lables'"),
        (("available_node_types", "cpu", "resources", "CPU"), 1.5, "1.5 is not of type 'integer'"),
        (
            ("available_node_types", "cpu", "node_config", "InstanceTyp"),
            "m7i.large",
            'Unknown parameter in input: "Inst',
        ),
        (
            ("available_node_types", "cpu", "node_config", "MetadataOptions", "HttpToken"),
            "required",
            'Unknown parameter in MetadataOptions: "HttpToken"',
        ),
        (
            ("available_node_types", "cpu", "node_config", "InstanceMarketOptions"),
            {"MarketType": "spot", "SpotOptions": {"MaxPrice": 0.5}},
            "Invalid type for parameter InstanceMarketOptions.SpotOptions.MaxPrice, value: 0.5",
        ),
    ],
)
def test_a_mistake_is_found(place: Place, value: Any, said: str) -> None:
    wrong = copy.deepcopy(CLUSTER)
    inner = wrong
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    [complaint] = complaints(wrong)
    assert said in complaint


def test_every_replica_has_a_group_and_what_is_waited_for_none_that_vanishes() -> None:
    groups = [
        Group(name, one["labels"], float(one["resources"]["CPU"]), float(one["resources"].get("GPU", 0)))
        for name, one in NODE_TYPES.items()
    ]
    assert unplaceable(AWS, groups) == []
    for deployment, labels in selectors(AWS):
        if not deployment.endswith("-batch-language-model"):
            assert not any(labels.items() <= group.labels.items() for group in groups if group.is_spot), deployment


def test_labels_are_such_that_ray_takes() -> None:
    for one in NODE_TYPES.values():
        validate_node_label_syntax(one["labels"])


def test_the_head_has_no_work() -> None:
    assert NODE_TYPES[CLUSTER["head_node_type"]]["resources"] == {"CPU": 0}


def test_labels_say_what_the_market_is() -> None:
    for one in NODE_TYPES.values():
        market = one["node_config"].get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        assert one["labels"]["ray.io/market-type"] == market


def test_spot_has_several_types_of_instance_in_an_order_and_otherwise_alike() -> None:
    kinds = [NODE_TYPES[name] for name in SPOT]
    assert len({one["node_config"]["InstanceType"] for one in kinds}) == len(kinds) >= 3
    assert len({one["priority"] for one in kinds}) == len(kinds)
    # Ray looks at priorities where all else is equal. One kind of GPU: codes go on with no other.
    assert all(one["resources"] == kinds[0]["resources"] and one["labels"] == kinds[0]["labels"] for one in kinds)
    with_gpus = [one for one in NODE_TYPES.values() if "GPU" in one["resources"]]
    assert len({one["labels"]["ray.io/accelerator-type"] for one in with_gpus}) == 1
    assert CLUSTER["docker"]["head_run_options"].count("--env RAY_enable_autoscaler_v2=1") == 1


@pytest.mark.parametrize("name", NODE_TYPES)
def test_a_node_keeps_its_data_and_its_rights_to_itself(name: str) -> None:
    node_config = NODE_TYPES[name]["node_config"]
    assert node_config["MetadataOptions"]["HttpTokens"] == "required"
    assert all(disk["Ebs"]["Encrypted"] for disk in node_config["BlockDeviceMappings"])
    assert node_config["SecurityGroupIds"]  # without, Ray opens port 22 to everyone
    assert node_config["IamInstanceProfile"]  # without, the head gets a role that may do anything with EC2 and S3
    assert "PublicIp" not in str(node_config)
    assert node_config["ImageId"].startswith(("resolve:ssm:", "ami-"))


def test_nothing_of_a_node_is_left_behind_and_nobody_comes_in() -> None:
    assert CLUSTER["provider"]["cache_stopped_nodes"] is False
    assert CLUSTER["provider"]["use_internal_ips"] is True
    assert "--dashboard-host=127.0.0.1" in " ".join(CLUSTER["head_start_ray_commands"])
    assert re.search(r"(AKIA|ASIA)[A-Z0-9]{16}|aws_secret|password=", TEXT) is None


def test_ray_adds_no_commands_of_its_own() -> None:
    prepared = prepare_config(copy.deepcopy(CLUSTER))
    assert prepared["setup_commands"] == prepared["head_setup_commands"] == prepared["worker_setup_commands"] == []


def test_every_worker_watches_for_its_end() -> None:
    *_, start, watch = CLUSTER["worker_start_ray_commands"]
    assert "ray start --address=$RAY_HEAD_IP:6379" in start
    assert "musicgen node watch" in watch
    assert watch.endswith("&")


@pytest.mark.parametrize("name", WORKERS)
def test_an_idle_node_goes_before_the_next_hour(name: str) -> None:
    assert 0 < NODE_TYPES[name]["idle_timeout_s"] <= 3600


def test_the_service_finds_its_checkpoints_and_tables_where_nodes_put_them() -> None:
    options = CLUSTER["docker"]["run_options"]
    assert "--volume /opt/models:/models" in options
    assert "HF_HOME=/models" in (ROOT / "Dockerfile").read_text()
    assert any("RAY_REDIS_ADDRESS=rediss://" in each for each in CLUSTER["docker"]["head_run_options"])

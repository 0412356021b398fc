"""A typo anywhere in a deploy file is found, with Serve's own schema and before anything starts."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.launcher.deploy_file import DeployFile, DeployFileError
from serve_app.launcher.deployment import load_deploy_file

CONFIGS = Path(__file__).parents[3] / "serve_app" / "configs"
Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def changed(tmp_path: Path, change: Change) -> Path:
    content = copy.deepcopy(yaml.safe_load((CONFIGS / "local.yaml").read_text()))
    change(content, content["applications"][0])
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def deployment(**options: Any) -> Change:
    return lambda file, app: app.update(deployments=[{"name": "pipeline", **options}])


@pytest.mark.parametrize("name", ["local.yaml", "gpu.yaml", "offloaded.yaml"])
def test_the_files_that_come_with_it_are_right_once_a_licence_that_asks_for_it_is_accepted(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text((CONFIGS / name).read_text().replace("accepted_licenses: [] # [", "accepted_licenses: ["))
    file = load_deploy_file(path)
    assert file.url == "http://127.0.0.1:8000"
    assert file.on_port(8001).url == "http://127.0.0.1:8001"
    assert file.applications[0].settings is not None


def test_a_service_on_the_network_asks_for_keys_or_is_refused(tmp_path: Path) -> None:
    def opened(file: dict[str, Any], _: dict[str, Any]) -> None:
        file["http_options"]["host"] = "0.0.0.0"

    def with_keys(file: dict[str, Any], app: dict[str, Any]) -> None:
        opened(file, app)
        app["args"]["access"] = {"keys": "required"}

    with pytest.raises(DeployFileError, match=r"applications\[0\]: the service would listen beyond this machine"):
        load_deploy_file(changed(tmp_path, opened))
    assert load_deploy_file(changed(tmp_path, with_keys)).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file, app: file.update(http_option={}), "unknown key 'http_option', did you mean 'http_options'?"),
        (
            lambda file, app: file["http_options"].update(prot=1),
            "http_options: unknown key 'prot', did you mean 'port'?",
        ),
        (lambda file, app: file["logging_config"].update(level=1), "logging_config: unknown key 'level', did you"),
        (lambda file, app: file.update(grpc_options={"prot": 1}), "grpc_options: unknown key 'prot'"),
        (lambda file, app: file.update(controller_options={"env": 1}), "controller_options: unknown key 'env'"),
        (lambda file, app: app.update(arg={}), "applications[0]: unknown key 'arg', did you mean 'args'?"),
        (
            lambda file, app: app.update(runtime_env={"env_var": {}}),
            "applications[0].runtime_env: unknown key 'env_var'",
        ),
        (deployment(num_replica=1), "applications[0].deployments[0]: unknown key 'num_replica', did you mean"),
        (deployment(ray_actor_options={"num_cpu": 1}), "deployments[0].ray_actor_options: unknown key 'num_cpu'"),
        (
            deployment(ray_actor_options={"runtime_env": {"pips": []}}),
            "ray_actor_options.runtime_env: unknown key 'pips'",
        ),
        (deployment(autoscaling_config={"min": 1}), "deployments[0].autoscaling_config: unknown key 'min'"),
        (deployment(autoscaling_config={"policy": {"fn": 1}}), "autoscaling_config.policy: unknown key 'fn'"),
        (deployment(logging_config={"encodin": "JSON"}), "deployments[0].logging_config: unknown key 'encodin'"),
        (lambda file, app: app["args"].update(model={}), "applications[0].args: unknown key 'model', did you mean"),
        (
            lambda file, app: app["args"].update(http={"max_body": 1}),
            "applications[0].args.http: unknown key 'max_body'",
        ),
        (lambda file, app: app["args"]["models"]["etude"].update(slot=1), "args.models.etude: unknown key 'slot'"),
        (
            lambda file, app: app["args"]["models"]["etude"].update(placement={"kind": "gpu", "fractoin": 1}),
            "placement: unknown key 'fractoin', did you mean 'fraction'? Valid keys: fraction, kind, memory",
        ),
        (
            lambda file, app: app["args"]["models"]["etude"].update(placement={"kind": "tpu"}),
            "args.models.etude.placement: kind is 'tpu'; it is one of cpu, gpu, gpus, offloaded",
        ),
        (lambda file, app: app["args"].update(default_model="x"), "applications[0].args: default_model is 'x'"),
        (lambda file, app: app.update(args=[1]), "applications[0].args: Input should be a valid dictionary"),
        (lambda file, app: app.pop("import_path"), "applications[0].import_path: Field required"),
        (lambda file, app: file["http_options"].update(port="a"), "http_options.port: Input should be a valid integer"),
        (lambda file, app: file["http_options"].pop("host"), "http_options.host is missing"),
        (lambda file, app: file.pop("http_options"), "http_options.host is missing"),
        (lambda file, app: file.update(applications=[]), "applications: there is none"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_place(tmp_path: Path, change: Change, said: str) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(DeployFileError) as failure:
        load_deploy_file(path)
    assert str(failure.value).startswith(f"{path}: ")
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "change",
    [
        deployment(num_replicas=2, max_surge_percent=100),
        deployment(ray_actor_options={"resources": {"rack": 1}, "runtime_env": {"env_vars": {"A": "b"}}}),
        deployment(
            autoscaling_config={
                "min_replicas": 1,
                "policy": {"policy_function": "json:dumps", "policy_kwargs": {"x": 1}},
            }
        ),
        lambda file, app: app.update(
            import_path="other.app:build", args={"anything": 1}, deployments=[{"name": "A", "user_config": {"any": 1}}]
        ),
    ],
)
def test_what_is_free_is_left_alone(tmp_path: Path, change: Change) -> None:
    assert isinstance(load_deploy_file(changed(tmp_path, change)), DeployFile)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http_options: {port: 1}\nhttp_options: {port: 2}\n", "'http_options' stands twice"),
        ("applications: [\n", "not a YAML file"),
        ("- 1\n", "not a mapping"),
        ("", "not a mapping"),
    ],
)
def test_a_file_that_is_no_deploy_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(DeployFileError, match=said):
        load_deploy_file(path)
    with pytest.raises(DeployFileError, match="No such file"):
        load_deploy_file(tmp_path / "absent.yaml")


def test_the_check_command_says_it_and_fails(tmp_path: Path) -> None:
    wrong = changed(tmp_path, lambda file, app: file.update(http_option={}))
    command = [sys.executable, "-m", "serve_app.cli.main", "check", str(CONFIGS / "local.yaml"), str(wrong)]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert check.stdout == f"{CONFIGS / 'local.yaml'}: right\n"
    assert check.stderr.startswith(f"{wrong}: unknown key 'http_option'")
    assert check.stderr.count("\n") == 1


POLICY = {"policy_function": "serve_app.scaling.deployment:policy"}
BOUNDS = {"min_replicas": 1, "max_replicas": 4, "upscale_delay_s": 1, "downscale_delay_s": 60}
WHOLE = BOUNDS | {"downscale_to_zero_delay_s": 60, "metrics_interval_s": 1, "look_back_period_s": 2}
LANGUAGE_MODEL: dict[str, Any] = {"name": "etude-language-model"}
TUNED: dict[str, Any] = {"target_load": 0.5, "target_wait_s": 5}


def scaled(*tuned: dict[str, Any], policy: object = POLICY) -> Change:
    """The embedded model's replicas come and go. tuned: `deployments` of the file."""

    def change(_: dict[str, Any], app: dict[str, Any]) -> None:
        app["args"]["models"]["etude"]["language_model"] = {"autoscaling": {"max_replicas": 4}}
        app.update({} if policy is None else {"autoscaling_policy": policy}, deployments=list(tuned))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (scaled(policy=None), "autoscaling_policy is missing"),
        (scaled(policy={"policy_function": "json:dumps"}), "autoscaling_policy is missing"),
        (scaled({"name": "etude-batch-language-model"}), "there is no 'etude-batch-language-model'; there are ingress"),
        (scaled({"name": "pipeline", "user_config": {}}), "only language models have one: etude-language-model"),
        (scaled(LANGUAGE_MODEL | {"user_config": {"target": 1}}), "a mapping of target_load and target_wait_s"),
        (scaled(LANGUAGE_MODEL | {"user_config": TUNED | {"target_load": 2}}), "more than 0 and at most 1"),
        (scaled(LANGUAGE_MODEL | {"user_config": TUNED | {"target_wait_s": "5"}}), "are numbers"),
        (scaled(LANGUAGE_MODEL | {"autoscaling_config": BOUNDS}), "write down downscale_to_zero_delay_s too"),
    ],
)
def test_a_mistake_in_what_is_tuned_is_named(tmp_path: Path, change: Change, said: str) -> None:
    with pytest.raises(DeployFileError) as failure:
        load_deploy_file(changed(tmp_path, change))
    assert said in str(failure.value)


def test_targets_and_bounds_may_be_tuned(tmp_path: Path) -> None:
    tuned = LANGUAGE_MODEL | {"user_config": TUNED, "autoscaling_config": WHOLE}
    with pytest.warns(DeprecationWarning, match="metrics_interval_s"):
        assert load_deploy_file(changed(tmp_path, scaled(tuned))).applications[0].settings

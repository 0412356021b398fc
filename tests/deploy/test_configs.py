"""No deploy file has a key that nobody reads, nor could have one at any level without being found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.cli.main import main
from serve_app.launcher.deploy_file import DeployFileError
from serve_app.launcher.deployment import load_deploy_file
from tests.deploy.planted import Path as Place
from tests.deploy.planted import mappings, planted

CONFIGS = sorted((Path(__file__).parents[2] / "serve_app" / "configs").glob("*.yaml"))


def accepted(path: Path) -> str:
    """The file's text, once the licences that it asks for are accepted."""
    return path.read_text().replace("accepted_licenses: [] # [", "accepted_licenses: [")


def is_right(path: Path, content: Any) -> bool:
    path.write_text(yaml.safe_dump(content))
    try:
        load_deploy_file(path)
    except DeployFileError:
        return False
    return True


def test_there_are_files() -> None:
    assert {path.name for path in CONFIGS} >= {"local.yaml", "gpu.yaml", "offloaded.yaml", "aws.yaml"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_file_is_right_once_its_licence_is_accepted_and_an_unknown_key_is_found_at_every_level(
    tmp_path: Path, path: Path
) -> None:
    content = yaml.safe_load(accepted(path))
    assert is_right(tmp_path / "file.yaml", content)
    passed_over: list[Place] = [
        place for place in mappings(content) if is_right(tmp_path / "file.yaml", planted(content, place))
    ]
    assert passed_over == []


@pytest.mark.parametrize("path", [path for path in CONFIGS if "NC" in path.read_text()], ids=lambda path: path.name)
def test_weights_that_forbid_commercial_use_are_served_only_where_somebody_has_said_so(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(path)]) == 1
    assert "read that licence, and if you accept it, set accepted_licenses" in capsys.readouterr().err

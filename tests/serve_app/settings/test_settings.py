"""Settings: what an operator wrote is what runs, or a sentence says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deployments.language_model.placement import CpuShare, Offloaded
from serve_app.settings import sentence
from serve_app.settings.application import Settings
from serve_app.settings.model import ModelSettings

CONFIGS = Path(__file__).parents[3] / "serve_app" / "configs"
COMMIT = "4c8334b02c6ec4e8664a91979669a501ec497792"
MODEL: dict[str, Any] = {"source": "./somewhere", "license": "CC0-1.0"}


def settings(text: str) -> Settings:
    return Settings.model_validate(yaml.safe_load(text)["applications"][0]["args"])


def complaint(model: dict[str, Any], **others: Any) -> str:
    with pytest.raises(ValidationError) as failure:
        Settings.model_validate({"models": {"m": model}, "default_model": "m", **others})
    return sentence(failure.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"slotz": 4},
            "models.m: unknown key 'slotz', did you mean 'slots'? Valid keys: batch_language_model, codec_decoder, ",
        ),
        ({"zzz": 4}, "models.m: unknown key 'zzz'; Valid keys: "),
        ({"language_model": {"num_replica": 2}}, "unknown key 'num_replica', did you mean 'num_replicas'?"),
        ({"slots": 0}, "models.m.slots: Input should be greater than or equal to 1"),
        ({"slots": "8"}, "models.m.slots: Input should be a valid integer"),
        ({"slots": 33}, "slots is 33, and a replica whose placement is cpu makes 32 generations at once at most"),
        ({"slots": True}, "models.m.slots: Input should be a valid integer"),
        ({"dtype": "float16"}, "models.m.dtype: Input should be 'auto', 'int8', 'bfloat16' or 'float32'"),
        ({"max_duration_ms": 30_001}, "models.m.max_duration_ms: Input should be less than or equal to 30000"),
        ({"license": "see website"}, "models.m.license: 'see website' is not an SPDX id"),
        ({"source": "somewhere"}, "'somewhere' is neither a folder (written ./… or /…) nor a hub id (owner/name)"),
        ({"source": "facebook/musicgen-small"}, "git ls-remote https://huggingface.co/facebook/musicgen-small HEAD"),
        ({"source": "facebook/musicgen-small", "revision": "main"}, "'main' is not a commit (40 hex digits"),
        ({"revision": COMMIT}, "the folder './somewhere' has no revision"),
    ],
)
def test_a_mistake_in_a_model_is_named_with_what_would_be_right(change: dict[str, Any], said: str) -> None:
    assert said in complaint(MODEL | change)


def test_a_mistake_at_the_top_is_named_with_what_would_be_right() -> None:
    assert "unknown key 'default_modle', did you mean 'default_model'?" in complaint(MODEL, default_modle="m")
    assert "default_model is 'n', which is none of the models: m" in complaint(MODEL, default_model="n")
    assert "'Big One' is not a model's name" in complaint(MODEL, models={"Big One": MODEL})
    assert "models: " in complaint(MODEL, models={})


def test_a_licence_is_required() -> None:
    assert complaint({"source": "./somewhere"}) == "models.m.license: Field required"


def test_settings_are_frozen() -> None:
    model = ModelSettings(**MODEL)
    with pytest.raises(ValidationError, match="frozen"):
        model.slots = 3


def test_a_folder_is_taken_from_the_projects_root_and_a_hub_id_is_none() -> None:
    assert ModelSettings(**MODEL).folder == CONFIGS.parents[1] / "somewhere"
    assert ModelSettings(**MODEL | {"source": "/srv/models/x"}).folder == Path("/srv/models/x")
    assert ModelSettings(**MODEL | {"source": "facebook/musicgen-small", "revision": COMMIT}).folder is None


def test_local_yaml_fits_on_one_core_without_a_gpu() -> None:
    local = settings((CONFIGS / "local.yaml").read_text())
    assert local.total_cpus <= 1
    assert local.total_gpus == 0
    assert {model.placement.kind for model in local.models.values()} == {"cpu"}


def accepted(name: str) -> str:
    """The file's text after the one change that it asks for."""
    text = (CONFIGS / name).read_text()
    assert "accepted_licenses: [] # [CC-BY-NC-4.0]" in text
    return text.replace("accepted_licenses: [] # [", "accepted_licenses: [")


@pytest.mark.parametrize("name", ["gpu.yaml", "offloaded.yaml"])
def test_weights_whose_licence_is_not_accepted_are_not_loaded(name: str) -> None:
    with pytest.raises(
        ValidationError, match=r"CC-BY-NC-4\.0: read that licence.*accepted_licenses: \[CC-BY-NC-4\.0\]"
    ):
        settings((CONFIGS / name).read_text())


def test_a_model_that_is_not_the_default_may_wait_for_its_licence_to_be_accepted() -> None:
    models = {"a": MODEL, "b": MODEL | {"license": "CC-BY-NC-4.0", "placement": "gpu"}}
    closed = Settings.model_validate({"models": models, "default_model": "a"})
    assert (list(closed.loaded), closed.total_gpus) == (["a"], 0)
    both = {"accepted_licenses": ["CC0-1.0", "CC-BY-NC-4.0"]}
    opened = Settings.model_validate({"models": models, "default_model": "a", **both})
    assert (list(opened.loaded), opened.total_gpus) == (["a", "b"], 1)


def test_gpu_yaml_fits_on_one_gpu_as_it_stands_and_holds_large_for_a_second() -> None:
    text = accepted("gpu.yaml")
    as_it_stands = settings(text)
    assert as_it_stands.total_gpus <= 1
    complete = settings(text.replace("        # large:", "        large:").replace("        #   ", "          "))
    assert {name: model.placement.num_gpus for name, model in complete.models.items()} == {
        "small": 0.25,
        "medium": 0.5,
        "large": 1,
    }
    assert {model.source for model in complete.models.values()} == {
        f"facebook/musicgen-{size}" for size in ("small", "medium", "large")
    }
    assert {model.license for model in complete.models.values()} == {"CC-BY-NC-4.0"}


def test_offloaded_yaml_serves_large_on_one_gpu_and_keeps_the_rest_where_it_is_ignored() -> None:
    (large,) = settings(accepted("offloaded.yaml")).models.values()
    placement = large.placement.resolved()
    assert isinstance(placement, Offloaded)
    assert (large.source, large.total_gpus) == ("facebook/musicgen-large", 1)
    assert placement.folder == CONFIGS.parents[1] / "build" / "offloaded"
    assert large.max_memory_bytes == 8 * 10**9


def test_replicas_that_compute_on_the_cpu_share_it() -> None:
    models = {
        "a": MODEL | {"language_model": {"num_replicas": 2, "num_cpus": 0.5}},
        "b": MODEL
        | {"language_model": {"num_cpus": 4}, "placement": {"kind": "offloaded", "max_memory": {"cpu": "1GB"}}},
        "c": MODEL | {"placement": "gpu"},
    }
    application = Settings.model_validate({"models": models, "default_model": "a", "cpu_util_target": 0.5})
    assert application.cpu_share("a") == CpuShare(0.5, 0.5, (0.5, 4))
    assert application.cpu_share("b") == CpuShare(0.5, 4, (0.5, 0.5))
    assert [application.cpu_share(name).num_threads(12, 8) for name in "ab"] == [2, 2]


@pytest.mark.parametrize("target", [0, 1.5, "half"])
def test_a_target_is_a_part_of_the_cores(target: object) -> None:
    assert "cpu_util_target: Input should be" in complaint(MODEL, cpu_util_target=target)


@pytest.mark.parametrize("name", ["local.yaml", "gpu.yaml", "offloaded.yaml"])
def test_the_service_listens_on_loopback_unless_told_otherwise(name: str) -> None:
    assert yaml.safe_load((CONFIGS / name).read_text())["http_options"]["host"] == "127.0.0.1"


SCALED: dict[str, Any] = {"max_replicas": 4}


@pytest.mark.parametrize(
    ("replicas", "complaint_of"),
    [
        ({"num_replicas": 2, "autoscaling": SCALED}, "num_replicas and autoscaling exclude each other"),
        ({"autoscaling": {}}, "max_replicas"),
        ({"autoscaling": SCALED | {"min_replicas": 5}}, "have to be in this order"),
        ({"autoscaling": SCALED | {"initial_replicas": 9}}, "have to be in this order"),
        ({"autoscaling": SCALED | {"upscale_delay_s": 200}}, "it would come and go"),
        ({"autoscaling": SCALED | {"target_load": 1.5}}, "target_load"),
        ({"nodes": [{}]}, "leave nodes out to allow any node"),
    ],
)
def test_a_mistake_in_how_replicas_come_and_go_is_named(replicas: dict[str, Any], complaint_of: str) -> None:
    assert complaint_of in complaint(MODEL | {"language_model": replicas})


def test_only_language_models_may_go_to_zero() -> None:
    zero = {"autoscaling": SCALED | {"min_replicas": 0}}
    model = {"source": "./somewhere", "license": "CC0-1.0"}
    Settings.model_validate({"models": {"m": model | {"language_model": zero}}, "default_model": "m"})
    for part in ("text_encoder", "codec_decoder"):
        with pytest.raises(ValidationError, match=rf"models\.m\.{part}\.autoscaling\.min_replicas is 0"):
            Settings.model_validate({"models": {"m": model | {part: zero}}, "default_model": "m"})
    with pytest.raises(ValidationError, match=r"pipeline\.autoscaling\.min_replicas is 0"):
        Settings.model_validate({"models": {"m": model}, "default_model": "m", "pipeline": zero})


def test_what_is_set_aside_is_what_it_starts_with() -> None:
    scaled = {"num_cpus": 2, "autoscaling": SCALED | {"min_replicas": 0, "initial_replicas": 2}}
    plain = {"text_encoder": {"num_cpus": 0}, "codec_decoder": {"num_cpus": 0}}
    model = ModelSettings(
        source="./somewhere",
        license="CC0-1.0",
        placement="gpu",
        batch_language_model=scaled,
        **plain,
        language_model={"num_cpus": 1},
    )
    assert (model.total_cpus, model.total_gpus) == (5, 3)

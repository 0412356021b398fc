"""A Serve deploy file, read strictly: Serve passes over keys it doesn't know, and a typo in one is a setting lost.

The schema of the file is Serve's own, handed in by `deployment.py`; the `args` of this application are `Settings`.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from deployments.paths import ROOT
from deployments.scaling_stats import Targets
from serve_app.auth import keys as binding
from serve_app.settings import dotted, sentence, unknown_key
from serve_app.settings.application import Settings
from serve_app.settings.replicas import deployment_names, language_model_names

IMPORT_PATH = "serve_app.graph:build"
POLICY = "serve_app.scaling.deployment:policy"
# What graph.py makes of `AutoscalingSettings`, and would be Serve's default where it is left out.
_WHOLE = {
    "min_replicas",
    "max_replicas",
    "upscale_delay_s",
    "downscale_delay_s",
    "downscale_to_zero_delay_s",
    "metrics_interval_s",
    "look_back_period_s",
}


class DeployFileError(Exception):
    """The file can't be read or holds something wrong; one sentence that leads with its name."""


@dataclass(frozen=True)
class Application:
    """One application of the file. settings: None if it isn't this project's."""

    name: str
    route_prefix: str | None
    settings: Settings | None


@dataclass(frozen=True)
class DeployFile:
    """A deploy file found right. content: what Serve's schema takes; sources of models by their whole paths."""

    path: Path
    content: Mapping[str, Any]
    applications: tuple[Application, ...]

    @property
    def host(self) -> str:
        """The address the service listens on."""
        return str(self.content["http_options"]["host"])

    @property
    def port(self) -> int:
        """The port the service listens on."""
        return int(self.content["http_options"]["port"])

    @property
    def url(self) -> str:
        """Where this machine reaches the first application, without a slash at the end."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}{self.applications[0].route_prefix or ''}".rstrip("/")

    def on_port(self, port: int) -> DeployFile:
        """The same with another port."""
        return replace(self, content={**self.content, "http_options": {**self.content["http_options"], "port": port}})


def read_deploy_file(path: Path, schema: type[BaseModel], loose: Mapping[str, Collection[str]]) -> DeployFile:
    """The checked deploy file at `path`. Raises DeployFileError.

    schema: of the whole file. loose: of options that it takes as any mapping, like `runtime_env`, the keys they have.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeysLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise DeployFileError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeployFileError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DeployFileError(f"{path}: not a mapping of {', '.join(sorted(schema.model_fields))}")
    try:
        return _checked(path, content, schema, loose)
    except DeployFileError as error:
        raise DeployFileError(f"{path}: {error}") from error


def _checked(
    path: Path, content: dict[str, Any], schema: type[BaseModel], loose: Mapping[str, Collection[str]]
) -> DeployFile:
    for place, key, valid in unknown_keys(content, schema):
        raise DeployFileError(f"{place + ': ' if place else ''}{unknown_key(key, valid)}")
    for place, option, known in _loose_options(content, loose):
        for key in option.keys() - set(known):
            raise DeployFileError(f"{place}: {unknown_key(key, known)}")
    try:
        schema.model_validate(content)
    except ValidationError as error:
        raise DeployFileError(sentence(error)) from error
    http_options = content.get("http_options") or {}
    for key, example in (("host", "127.0.0.1 (Serve would listen on every interface)"), ("port", "8000")):
        if key not in http_options:
            raise DeployFileError(f"http_options.{key} is missing; write it down, for example {example}")
    if not content["applications"]:
        raise DeployFileError("applications: there is none")
    for i, one in enumerate(content["applications"]):
        _application(f"applications[{i}]", one)
    content = {**content, "applications": [_located(one, path.parent) for one in content["applications"]]}
    applications = tuple(_application(f"applications[{i}]", one) for i, one in enumerate(content["applications"]))
    for i, one in enumerate(content["applications"]):
        if (settings := applications[i].settings) is not None:
            _check_scaling(f"applications[{i}]", one, settings)
    for i, application in enumerate(applications):
        if application.settings is not None:
            try:
                binding.check_bind_address(str(http_options["host"]), application.settings.access.keys)
            except binding.PublicWithoutKeys as error:
                raise DeployFileError(f"applications[{i}]: {error}") from error
    return DeployFile(path, content, applications)


def _application(place: str, content: dict[str, Any]) -> Application:
    settings = None
    if _is_ours(content):
        args = content.get("args") or {}
        for where, key, valid in unknown_keys(args, Settings, f"{place}.args"):
            raise DeployFileError(f"{where}: {unknown_key(key, valid)}")
        try:
            settings = Settings.model_validate(args)
        except ValidationError as error:
            raise DeployFileError(sentence(error, f"{place}.args")) from error
    return Application(content.get("name", "default"), content.get("route_prefix", "/"), settings)


def _located(application: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same, with the sources of its models that are written `./…` or `../…` as whole paths from the file's folder.

    What isn't there but in the project's root is left as it is: that is where files of former releases begin.
    """
    args = application.get("args") or {}
    if not _is_ours(application) or not args.get("models"):
        return application
    models = {}
    for name, model in args["models"].items():
        source = model["source"]
        if source.startswith(("./", "../")) and ((folder / source).exists() or not (ROOT / source).exists()):
            model = {**model, "source": str((folder / source).resolve())}
        models[name] = model
    return {**application, "args": {**args, "models": models}}


def _is_ours(application: Mapping[str, Any]) -> bool:
    return bool(application["import_path"].replace(":", ".") == IMPORT_PATH.replace(":", "."))


def _check_scaling(place: str, content: Mapping[str, Any], settings: Settings) -> None:
    """Checks that the autoscaling policy is named, and that the deployments which are tuned exist.

    Raises DeployFileError.
    """
    policy = (content.get("autoscaling_policy") or {}).get("policy_function")
    if settings.scales and policy != POLICY:
        raise DeployFileError(
            f"{place}.autoscaling_policy is missing: replicas come and go here, and Serve's own policy would go by "
            f'the number of requests alone; write autoscaling_policy: {{policy_function: "{POLICY}"}}'
        )
    names, tunable = deployment_names(settings.pools), language_model_names(settings.pools)
    for j, each in enumerate(content.get("deployments") or ()):
        where = f"{place}.deployments[{j}]"
        if each["name"] not in names:
            raise DeployFileError(f"{where}: there is no {each['name']!r}; there are {', '.join(names)}")
        missing = sorted(_WHOLE - set(each.get("autoscaling_config") or _WHOLE))
        if settings.scales and missing:
            raise DeployFileError(
                f"{where}.autoscaling_config takes the place of the whole one in args: write down {missing[0]} too "
                f"(and all of {', '.join(sorted(_WHOLE))})"
            )
        if each.get("user_config") is None:
            continue
        if each["name"] not in tunable:
            raise DeployFileError(f"{where}.user_config: only language models have one: {', '.join(tunable)}")
        try:
            Targets.read(each["user_config"])
        except ValueError as error:
            raise DeployFileError(f"{where}.user_config: {error}") from error


def unknown_keys(data: Any, annotation: Any, place: str = "") -> Iterator[tuple[str, object, list[str]]]:
    """Every key of `data` that the pydantic models of `annotation` don't have: (place, key, the valid keys).

    Where a union allows a model or any mapping, as Serve's does for most of its options, the model is meant; of several
    models, the one whose `kind` the data has.
    """
    if isinstance(data, dict):
        models = list(_models(annotation))
        models = [model for model in models if _is_of_kind(data, model)] or models
        if models:
            fields = {name: field for model in models for name, field in model.model_fields.items()}
            for key, value in data.items():
                if key in fields:
                    yield from unknown_keys(value, fields[key].annotation, dotted(place, key))
                else:
                    yield place, key, list(fields)
        else:
            for key, value in data.items():
                yield from unknown_keys(value, _element(annotation), dotted(place, str(key)))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from unknown_keys(value, _element(annotation), dotted(place, i))


def _loose_options(
    data: Any, loose: Mapping[str, Collection[str]], place: str = ""
) -> Iterator[tuple[str, dict[str, Any], Collection[str]]]:
    """Every option that is one of `loose`: (place, the option, the keys it may have).

    What applications and deployments take for themselves is skipped.
    """
    if isinstance(data, dict):
        for key, value in data.items():
            if key in loose and isinstance(value, dict):
                yield dotted(place, key), value, loose[key]
            elif key not in ("args", "user_config"):
                yield from _loose_options(value, loose, dotted(place, str(key)))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _loose_options(value, loose, dotted(place, i))


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each


def _is_of_kind(data: dict[str, Any], model: type[BaseModel]) -> bool:
    return "kind" in model.model_fields and data.get("kind") in get_args(model.model_fields["kind"].annotation)


def _element(annotation: Any) -> Any:
    """What a list or mapping of `annotation` holds; Any where that isn't said."""
    elements = [get_args(each)[-1] for each in _alternatives(annotation) if get_args(each)]
    return Union[tuple(elements)] if elements else Any  # noqa: UP007 - made at run time


class _UniqueKeysLoader(yaml.SafeLoader):
    """YAML's last one of two equal keys wins, silently; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

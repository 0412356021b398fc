"""KubeRay's RayService, as JSON schema: the fields of its resource definition, with Kubernetes' own types below.

The names, and what is required, are those of KubeRay's API types (`ray-operator/apis/ray/v1` in its repository, with
`apiVersion: ray.io/v1`); the types of pods and services come from Kubernetes' OpenAPI document by way of lightkube.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
from lightkube.models import core_v1, meta_v1, networking_v1, policy_v1

Count = Annotated[int, msgspec.Meta(ge=0)]


class RedisCredential(msgspec.Struct):
    value: str | None = None
    valueFrom: core_v1.EnvVarSource | None = None


class GcsFaultToleranceOptions(msgspec.Struct):
    redisAddress: str
    backend: Literal["redis"] = "redis"
    redisUsername: RedisCredential | None = None
    redisPassword: RedisCredential | None = None
    externalStorageNamespace: str = ""


class AutoscalerOptions(msgspec.Struct):
    version: Literal["v1", "v2"] | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    idleTimeoutSeconds: Count | None = None
    resources: core_v1.ResourceRequirements | None = None
    image: str | None = None
    imagePullPolicy: str | None = None
    securityContext: core_v1.SecurityContext | None = None
    env: list[core_v1.EnvVar] | None = None
    envFrom: list[core_v1.EnvFromSource] | None = None
    volumeMounts: list[core_v1.VolumeMount] | None = None


class AuthOptions(msgspec.Struct):
    mode: Literal["disabled", "token"] | None = None
    secretName: str | None = None


class HeadGroupSpec(msgspec.Struct):
    template: core_v1.PodTemplateSpec
    rayStartParams: dict[str, str] = {}
    labels: dict[str, str] | None = None
    resources: dict[str, str] | None = None
    serviceType: str | None = None
    headService: core_v1.Service | None = None
    enableIngress: bool | None = None


class WorkerGroupSpec(msgspec.Struct):
    groupName: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    minReplicas: Count
    maxReplicas: Count
    template: core_v1.PodTemplateSpec
    replicas: Count | None = None
    numOfHosts: Count | None = None
    idleTimeoutSeconds: Count | None = None
    priority: int | None = None
    rayStartParams: dict[str, str] = {}
    labels: dict[str, str] | None = None
    resources: dict[str, str] | None = None


class RayClusterSpec(msgspec.Struct):
    headGroupSpec: HeadGroupSpec
    workerGroupSpecs: list[WorkerGroupSpec] = []
    rayVersion: str = ""
    enableInTreeAutoscaling: bool | None = None
    autoscalerOptions: AutoscalerOptions | None = None
    gcsFaultToleranceOptions: GcsFaultToleranceOptions | None = None
    authOptions: AuthOptions | None = None
    headServiceAnnotations: dict[str, str] | None = None
    suspend: bool | None = None


class UpgradeStrategy(msgspec.Struct):
    type: Literal["NewCluster", "NewClusterWithIncrementalUpgrade", "None"] | None = None


class RayServiceSpec(msgspec.Struct):
    rayClusterConfig: RayClusterSpec
    serveConfigV2: str = ""
    serveService: core_v1.Service | None = None
    upgradeStrategy: UpgradeStrategy | None = None
    rayClusterDeletionDelaySeconds: Count | None = None
    excludeHeadPodFromServeSvc: bool = False


class RayService(msgspec.Struct):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: meta_v1.ObjectMeta
    spec: RayServiceSpec


_KINDS: dict[tuple[str, str], type] = {
    ("ray.io/v1", "RayService"): RayService,
    ("v1", "Service"): core_v1.Service,
    ("v1", "ServiceAccount"): core_v1.ServiceAccount,
    ("policy/v1", "PodDisruptionBudget"): policy_v1.PodDisruptionBudget,
    ("networking.k8s.io/v1", "NetworkPolicy"): networking_v1.NetworkPolicy,
}


def schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a kind: no object has fields but its own, and labels and quantities are text or numbers."""
    (top,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    strict: dict[str, Any] = {**top, "$defs": components}
    waiting: list[Any] = [strict]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("type") == "object":
                one.setdefault("additionalProperties", "properties" not in one and {"type": ["string", "number"]})
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return strict


@cache
def _validator(kind: type) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(kind))


def complaints(resource: dict[str, Any]) -> list[str]:
    """What is wrong with a resource: each with the place where it is. KeyError for a kind that isn't known here."""
    validator = _validator(_KINDS[resource["apiVersion"], resource["kind"]])
    return sorted(f"{error.json_path}: {error.message}" for error in validator.iter_errors(resource))

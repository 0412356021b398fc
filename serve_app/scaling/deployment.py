"""The autoscaling policy as Serve calls it: how many replicas each deployment of the application should have now.

A deploy file names it: `autoscaling_policy: {policy_function: "serve_app.scaling.deployment:policy"}`. Serve applies
the bounds and delays (`AutoscalingSettings`), and leaves a deployment as it is when the policy does not mention it. The
policy runs in Serve's controller, which collects each replica's numbers (`deployments.scaling_stats`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingContext

from serve_app.scaling.fleet import DeploymentState, Fleet

Contexts = Mapping[DeploymentID, AutoscalingContext]


def policy(contexts: Contexts) -> tuple[dict[DeploymentID, int], dict[DeploymentID, dict[str, Any]]]:
    """Returns the desired numbers of replicas, and the state of each deployment for the next call."""
    deployed = {each.name: _deployed(context) for each, context in contexts.items()}
    desired, known = Fleet(deployed).decide()
    return (
        {each: desired[each.name] for each in contexts if each.name in desired},
        {each: {"known": known.get(each.name, {})} for each in contexts},
    )


def _deployed(context: AutoscalingContext) -> DeploymentState:
    return DeploymentState(
        replicas=context.current_num_replicas,
        target=context.target_num_replicas,
        num_requests=context.total_num_requests,
        target_requests=context.config.get_target_ongoing_requests(),
        numbers={name: list(of.values()) for name, of in (context.aggregated_metrics or {}).items()},
        known=(context.policy_state or {}).get("known", {}),
    )

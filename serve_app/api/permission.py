"""Whether what is asked for may be made: the last things that are checked before anything is.

The middleware that knows who asks leaves in `request.state`: `caller`; `allow_prompt`, which raises PromptRefused;
`admit`, which charges the seconds of music to the caller's limits or raises OverLimit. Where it is not there, everybody
may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from deployments.messages import ModelCard
from serve_app.access.caller import Caller
from serve_app.api.errors import LicenseNotAccepted


def caller_of(request: Request) -> Caller:
    """Who asks."""
    caller: Caller = getattr(request.state, "caller", Caller())
    return caller


def check_license(card: ModelCard) -> None:
    """Raises: LicenseNotAccepted where the operator has not accepted the licence of the model's weights."""
    if not card.accepted:
        raise LicenseNotAccepted(
            f"The weights of this model are under the licence {card.license}, which the operator of this service has "
            "not accepted; GET /v1/models lists the models.",
            param="model_id",
        )


async def permit(request: Request, prompt: str, audio_s: float) -> None:
    """Returns when the words may be made into music, and that music is charged; leaves both for the audit.

    Raises: PromptRefused; OverLimit; NotReady where it can't be told.
    """
    request.state.prompt = prompt
    allow_prompt: Callable[[str], Awaitable[None]] | None = getattr(request.state, "allow_prompt", None)
    if allow_prompt is not None:
        await allow_prompt(prompt)
    admit: Callable[[float], Awaitable[None]] | None = getattr(request.state, "admit", None)
    if admit is not None:
        await admit(audio_s)
    request.state.audio_s = audio_s

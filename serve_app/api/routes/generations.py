"""The paths of jobs, which the API calls generations, and what each does.

What is not the caller's own and what does not exist are one answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.responses import Response

from serve_app.api.backends import Backend, JobsBackend
from serve_app.api.file_response import AudioAnswer, file_headers
from serve_app.api.finished_sounds import VariationSound, card_of, succeeded
from serve_app.api.job_response import PATH, JobEvents, generation_answer, generation_path, page_answer
from serve_app.api.requests import (
    body_bytes,
    caller_of,
    check_license,
    idempotency_key,
    model_card,
    music_request,
    permit,
    read_body,
    submission,
)
from serve_app.api.routes import generation_openapi as openapi
from serve_app.api.schemas.generations import (
    MAX_VARIATIONS,
    GenerationAnswer,
    GenerationBody,
    GenerationsAnswer,
)
from serve_app.api.schemas.parsing import integer, output_format, single_values
from serve_app.api.spool import Spool
from serve_app.cache.cache import drawn_seed
from serve_app.errors import InvalidRequest, NotFound
from serve_app.job import ENDED, Job
from serve_app.settings.application import ApiSettings, JobsSettings

_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"[0-9]{1,18}")


def build_generation_router(
    backend: Backend,
    jobs: JobsBackend,
    settings: ApiSettings,
    jobs_settings: JobsSettings,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """clock: seconds since 1970."""
    router = APIRouter(redirect_slashes=False)
    spool = Spool()

    async def find(request: Request) -> Job:
        """The job that the path names. Raises: NotFound."""
        job_id = request.path_params["id"]
        job = await jobs.find(caller_of(request).tenant, job_id) if _ID.fullmatch(job_id) else None
        if job is None:
            raise _no_such()
        request.state.generation = job.id
        request.state.model = job.request.model
        return job

    def answer_of(request: Request) -> Callable[[Job], GenerationAnswer]:
        """What tells the client of this request of a job."""
        return partial(generation_answer, cards=backend.models(), root=_root(request))

    @router.post(PATH, status_code=202, responses=openapi.SUBMIT_RESPONSES, openapi_extra=openapi.SUBMIT_REQUEST)
    async def submit_generation(request: Request, response: Response) -> GenerationAnswer:
        """Have music made from a text, in one or more variations, whether or not anybody waits for it."""
        single_values(request.query_params)
        key = idempotency_key(request.headers)
        body = await read_body(request, GenerationBody)
        if body.variations > jobs_settings.max_variations:
            raise InvalidRequest(
                f"variations must be an integer from 1 to {jobs_settings.max_variations}.", param="variations"
            )
        caller = caller_of(request)
        card = model_card(body, backend.models(), backend.default_model)
        request.state.model = card.name
        asked = music_request(body, card, request.state.request_id, caller.scope)
        check_license(card)
        submitted = submission(body, asked, card, caller, key, drawn_seed)
        # What is sent again is not charged again.
        if key is None or not await jobs.is_known(caller.tenant, key):
            await permit(request, asked.prompt, body.variations * asked.duration_ms / 1000)
        job, is_new = await jobs.submit(submitted)
        request.state.generation = job.id
        response.status_code = 202 if is_new else 200
        response.headers["Location"] = generation_path(job.id, _root(request))
        return answer_of(request)(job)

    @router.get(PATH, responses=openapi.PAGE_RESPONSES, openapi_extra=openapi.PAGE_REQUEST)
    async def list_generations(request: Request) -> GenerationsAnswer:
        """Your generations, newest first."""
        values = single_values(request.query_params, "limit", "before")
        limit = integer(values, "limit", 1, openapi.MAX_PAGE, openapi.DEFAULT_PAGE)
        before = values.get("before")
        if before is not None and not _ID.fullmatch(before):
            raise _no_such()
        try:
            # One more than asked for tells whether there is a next page.
            found = await jobs.page(caller_of(request).tenant, limit + 1, before)
        except NotFound as error:
            raise _no_such() from error
        return page_answer(found, limit, backend.models(), _root(request))

    @router.get(f"{PATH}/{{id}}", responses=openapi.FIND_RESPONSES, openapi_extra=openapi.FIND_REQUEST)
    async def get_generation(request: Request) -> GenerationAnswer:
        """A generation as it stands."""
        single_values(request.query_params)
        return answer_of(request)(await find(request))

    @router.delete(
        f"{PATH}/{{id}}",
        response_model=GenerationAnswer,
        responses=openapi.DELETE_RESPONSES,
        openapi_extra=openapi.FIND_REQUEST,
    )
    async def delete_generation(request: Request) -> GenerationAnswer | Response:
        """Cancel a generation that is under way, or remove one that has ended, with its music."""
        single_values(request.query_params)
        job = await find(request)
        if job.state in ENDED:
            if not await jobs.remove(job.tenant, job.id):
                raise _no_such()
            return Response(status_code=204)
        cancelled = await jobs.cancel(job.tenant, job.id)
        if cancelled is None:
            raise _no_such()
        return answer_of(request)(cancelled)

    @router.get(
        f"{PATH}/{{id}}/events",
        response_class=Response,
        responses=openapi.EVENTS_RESPONSES,
        openapi_extra=openapi.EVENTS_REQUEST,
    )
    async def follow_generation(request: Request) -> Response:
        """A generation whenever it changes, until it has ended, as server-sent events."""
        single_values(request.query_params)
        known = last_event_id(request.headers)
        job = await find(request)
        if job.state in ENDED and known == job.version:
            return Response(status_code=204)
        # A version that is not reached yet is none of this generation's: its reader knows nothing.
        after = known if known <= job.version else -1
        await body_bytes(request)
        return JobEvents(jobs, job.tenant, job.id, after, answer_of(request))

    async def audio(request: Request) -> Response:
        values = single_values(request.query_params, "output_format", "variation")
        container = output_format(values)
        number = integer(values, "variation", 0, MAX_VARIATIONS - 1, 0)
        job = await find(request)
        sound = VariationSound(job, succeeded(job, number), card_of(job, backend.models()), container, clock())
        if sound.tag.is_among(joined(request.headers, "If-None-Match")):
            return Response(status_code=304, headers=file_headers(sound.tag))
        await body_bytes(request)
        ranged = request.method == "GET" and sound.tag.continues(joined(request.headers, "If-Range"))
        return AudioAnswer(
            spool,
            sound,
            partial(sound.make, backend, jobs),
            asked=joined(request.headers, "Range") if ranged else None,
            deadline_s=settings.deadline_s,
        )

    @router.get(
        f"{PATH}/{{id}}/audio",
        response_class=Response,
        responses=openapi.AUDIO_RESPONSES,
        openapi_extra=openapi.AUDIO_REQUEST,
    )
    async def get_audio(request: Request) -> Response:
        """The sound of a variation that has succeeded, or a part of it."""
        return await audio(request)

    @router.head(
        f"{PATH}/{{id}}/audio",
        response_class=Response,
        responses=openapi.AUDIO_HEAD_RESPONSES,
        openapi_extra=openapi.AUDIO_HEAD_REQUEST,
    )
    async def head_audio(request: Request) -> Response:
        """The headers of the same; the sound is made for them."""
        return await audio(request)

    return router


def last_event_id(headers: Headers) -> int:
    """The version that a reader of events knows; -1 for none. Raises: InvalidRequest for what is no version."""
    sent = joined(headers, "Last-Event-ID")
    if sent is None:
        return -1
    if not _VERSION.fullmatch(sent):
        raise InvalidRequest("Last-Event-ID must be the id of an event of this generation.", param="Last-Event-ID")
    return int(sent)


def joined(headers: Headers, name: str) -> str | None:
    """All values of a header as one, as HTTP has it; None without the header."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None


def _root(request: Request) -> str:
    """The path under which the service is mounted; empty where it is not."""
    return str(request.scope.get("root_path", ""))


def _no_such() -> NotFound:
    return NotFound("There is no such generation: GET /v1/generations lists those that there are.")

"""The routes of jobs, which the API calls generations.

A generation of another tenant and one that does not exist get the same answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import WithJsonSchema
from starlette.datastructures import Headers
from starlette.responses import Response

from serve_app.api.backends import Backend, JobsBackend
from serve_app.api.file_response import AudioFileResponse, VariationSound, card_of, file_headers, succeeded_variation
from serve_app.api.finished_files import Spool
from serve_app.api.job_response import (
    GENERATIONS_PATH,
    JobEventsResponse,
    generation_answer,
    generation_path,
    page_answer,
)
from serve_app.api.requests import (
    IDEMPOTENCY_HEADER,
    IDEMPOTENCY_PATTERN,
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
from serve_app.api.routes import openapi
from serve_app.api.routes.music import OutputFormat
from serve_app.api.schemas.generations import MAX_VARIATIONS, GenerationAnswer, GenerationBody, GenerationsAnswer
from serve_app.api.schemas.parsing import integer, output_format, single_values
from serve_app.cache.cache import drawn_seed
from serve_app.errors import InvalidRequest, NotFound
from serve_app.job import ENDED, Job
from serve_app.settings.application import HttpSettings, JobsSettings
from serve_app.sound.containers import DEFAULT_FORMAT

MAX_PAGE = 100
DEFAULT_PAGE = 20

_ID = re.compile(openapi.ID_PATTERN)
_VERSION = re.compile(openapi.VERSION_PATTERN)

# What the OpenAPI document says of the parameters. They are parsed below, more strictly than FastAPI would.
_String = Annotated[str | None, WithJsonSchema({"type": "string"})]
IdempotencyKey = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": f"^{IDEMPOTENCY_PATTERN}$"}),
    Header(
        alias=IDEMPOTENCY_HEADER,
        description="Your own name for this submission: the same key with the same body is the same generation, "
        "however often it is sent, and with another body an error.",
    ),
]
Limit = Annotated[
    int | str,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PAGE}),
    Query(description="How many at most."),
]
Before = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": openapi.ID_PATTERN}),
    Query(description="The id of the last one that you have."),
]
GenerationId = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": openapi.ID_PATTERN}),
    Path(alias="id", description="Of a generation: 32 hexadecimal digits."),
]
LastEventId = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": openapi.VERSION_PATTERN}),
    Header(
        alias="Last-Event-ID", description="The id of the last event that you have; what it told is not told again."
    ),
]
VariationNumber = Annotated[
    int | str,
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_VARIATIONS - 1}),
    Query(description="Its number."),
]
IfNoneMatch = Annotated[_String, Header(alias="If-None-Match", description="Entity tags of the files that you have.")]
Range = Annotated[
    _String,
    Header(
        alias="Range",
        description="`bytes=first-last`: a part of the file. Several ranges, or what is none, get the whole.",
    ),
]
IfRange = Annotated[
    _String,
    Header(alias="If-Range", description="An entity tag: the part only if it is of that file, else the whole."),
]


def build_generation_router(
    backend: Backend,
    jobs: JobsBackend,
    settings: HttpSettings,
    jobs_settings: JobsSettings,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The routes of jobs. clock: seconds since 1970."""
    router = APIRouter(redirect_slashes=False)
    spool = Spool()

    async def find(request: Request) -> Job:
        """The caller's job that the path names. Raises: NotFound."""
        job_id = request.path_params["id"]
        job = await jobs.find(caller_of(request).tenant, job_id) if _ID.fullmatch(job_id) else None
        if job is None:
            raise _no_such_generation()
        request.state.generation = job.id
        request.state.model = job.request.model
        return job

    def answer_of(request: Request) -> Callable[[Job], GenerationAnswer]:
        """Makes the JSON of a job, with links for this request."""
        return partial(generation_answer, cards=backend.models(), root=_root(request))

    @router.post(
        GENERATIONS_PATH,
        status_code=202,
        responses=openapi.SUBMIT_RESPONSES,
        openapi_extra=openapi.takes_body(GenerationBody),
    )
    async def submit_generation(
        request: Request, response: Response, sent_key: IdempotencyKey = None
    ) -> GenerationAnswer:
        """Have music made from a text, in one or more variations, in the background."""
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
        music = music_request(body, card, request.state.request_id, caller.scope)
        check_license(card)
        submitted = submission(body, music, card, caller, key, drawn_seed)
        # A submission that is repeated is not charged again.
        if key is None or not await jobs.is_known(caller.tenant, key):
            await permit(request, music.prompt, body.variations * music.duration_ms / 1000)
        job, is_new = await jobs.submit(submitted)
        request.state.generation = job.id
        response.status_code = 202 if is_new else 200
        response.headers["Location"] = generation_path(job.id, _root(request))
        return answer_of(request)(job)

    @router.get(GENERATIONS_PATH, responses=openapi.FIND_RESPONSES)
    async def list_generations(
        request: Request, limit: Limit = DEFAULT_PAGE, before: Before = None
    ) -> GenerationsAnswer:
        """Your generations, newest first."""
        values = single_values(request.query_params, "limit", "before")
        num_shown = integer(values, "limit", 1, MAX_PAGE, DEFAULT_PAGE)
        if before is not None and not _ID.fullmatch(before):
            raise _no_such_generation()
        try:
            # One more than asked for tells whether there is a next page.
            found = await jobs.page(caller_of(request).tenant, num_shown + 1, before)
        except NotFound as error:
            raise _no_such_generation() from error
        return page_answer(found, num_shown, backend.models(), _root(request))

    @router.get(f"{GENERATIONS_PATH}/{{id}}", responses=openapi.FIND_RESPONSES)
    async def get_generation(request: Request, generation: GenerationId) -> GenerationAnswer:
        """A generation as it is now."""
        single_values(request.query_params)
        return answer_of(request)(await find(request))

    @router.delete(f"{GENERATIONS_PATH}/{{id}}", response_model=GenerationAnswer, responses=openapi.DELETE_RESPONSES)
    async def delete_generation(request: Request, generation: GenerationId) -> GenerationAnswer | Response:
        """Cancel a generation that is in progress, or delete one that has ended, with its music."""
        single_values(request.query_params)
        job = await find(request)
        if job.state in ENDED:
            if not await jobs.remove(job.tenant, job.id):
                raise _no_such_generation()
            return Response(status_code=204)
        cancelled = await jobs.cancel(job.tenant, job.id)
        if cancelled is None:
            raise _no_such_generation()
        return answer_of(request)(cancelled)

    @router.get(f"{GENERATIONS_PATH}/{{id}}/events", response_class=Response, responses=openapi.EVENTS_RESPONSES)
    async def follow_generation(request: Request, generation: GenerationId, last_event: LastEventId = None) -> Response:
        """A generation whenever it changes, until it has ended, as server-sent events."""
        single_values(request.query_params)
        known = last_event_id(request.headers)
        job = await find(request)
        if job.state in ENDED and known == job.version:
            return Response(status_code=204)
        # A version from the future is not of this generation: its reader knows nothing.
        after = known if known <= job.version else -1
        await body_bytes(request)
        return JobEventsResponse(jobs, job.tenant, job.id, after, answer_of(request))

    async def audio(request: Request) -> Response:
        values = single_values(request.query_params, "output_format", "variation")
        container = output_format(values)
        number = integer(values, "variation", 0, MAX_VARIATIONS - 1, 0)
        job = await find(request)
        sound = VariationSound(
            job, succeeded_variation(job, number), card_of(job, backend.models()), container, clock()
        )
        if sound.tag.is_among(joined_values(request.headers, "If-None-Match")):
            return Response(status_code=304, headers=file_headers(sound.tag))
        await body_bytes(request)
        ranged = request.method == "GET" and sound.tag.continues(joined_values(request.headers, "If-Range"))
        return AudioFileResponse(
            spool,
            sound,
            partial(sound.make, backend, jobs),
            range_header=joined_values(request.headers, "Range") if ranged else None,
            deadline_s=settings.deadline_s,
        )

    @router.get(f"{GENERATIONS_PATH}/{{id}}/audio", response_class=Response, responses=openapi.AUDIO_RESPONSES)
    async def get_audio(
        request: Request,
        generation: GenerationId,
        container: OutputFormat = DEFAULT_FORMAT.name,
        variation: VariationNumber = 0,
        if_none_match: IfNoneMatch = None,
        range_header: Range = None,
        if_range: IfRange = None,
    ) -> Response:
        """The sound of a variation that has succeeded, or a part of it."""
        return await audio(request)

    @router.head(f"{GENERATIONS_PATH}/{{id}}/audio", response_class=Response, responses=openapi.AUDIO_HEAD_RESPONSES)
    async def head_audio(
        request: Request,
        generation: GenerationId,
        container: OutputFormat = DEFAULT_FORMAT.name,
        variation: VariationNumber = 0,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """The headers of the same; the sound is made for them."""
        return await audio(request)

    return router


def last_event_id(headers: Headers) -> int:
    """The version of the last event that the client has; -1 for none. Raises: InvalidRequest."""
    sent = joined_values(headers, "Last-Event-ID")
    if sent is None:
        return -1
    if not _VERSION.fullmatch(sent):
        raise InvalidRequest("Last-Event-ID must be the id of an event of this generation.", param="Last-Event-ID")
    return int(sent)


def joined_values(headers: Headers, name: str) -> str | None:
    """All values of a header as one, as HTTP has it; None without the header."""
    values = headers.getlist(name)
    return ", ".join(values) if values else None


def _root(request: Request) -> str:
    """The path under which the service is mounted; empty where it is not."""
    return str(request.scope.get("root_path", ""))


def _no_such_generation() -> NotFound:
    return NotFound("There is no such generation: GET /v1/generations lists those that there are.")

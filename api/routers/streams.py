"""Streams: what changes, as it changes. Server-sent events, for clients that send their bearer token in a header."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import InvalidRequest, JobNotFound, admin_responses
from api.job_stream import JobStream
from api.log_lines import LEVELS, Level
from api.log_stream import LogStream, Position
from api.sse import EventStream
from api.users import parse_uuid
from flows.core import scheduled_jobs
from flows.core.domain import JobType

router = APIRouter(prefix="/api/jobs", tags=["streams"], route_class=AdminRoute)

_LARGEST_ID = 2**63 - 1
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="`id` of the last event that was seen: the stream goes on after it"),
]


def _stream(description: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string"}
    return {200: {"description": description, "content": {"text/event-stream": {"schema": schema}}}}


class JobStreamQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: list[JobType] = Field([], max_length=50, description="Only changes of these job types; may repeat")
    job_id: list[UUID] = Field([], max_length=50, alias="jobId", description="Only changes of these jobs; may repeat")


@router.get(
    "/stream",
    summary="Follow every job's changes",
    response_class=Response,  # its errors are JSON: only what is said below is a stream
    responses={
        **admin_responses(InvalidRequest),
        **_stream(
            "`accepted`, `waiting`, `dispatched`, `status`, `progress` and `cancel_requested`: a change, with `jobId`,"
            " `jobType`, `status` and `at`. `ready`: all changes up to here have been told; load the list after the"
            " first one. `unavailable`: the database does not answer; it goes on by itself. `reset`: what came since"
            " `Last-Event-ID` is not kept (24 h are): load the list again. `reauthenticate`: the token's time is over."
        ),
    },
)
async def follow_jobs(
    query: Annotated[JobStreamQuery, Query()],
    admin: AdminDep,
    runtime: RuntimeDep,
    last_event_id: LastEventId = None,
) -> EventStream:
    """Each change of each job, in the order of ids that are the same on every replica; from now on, or after an id."""
    after = None
    if last_event_id is not None:
        if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id[:20]) <= _LARGEST_ID):
            raise InvalidRequest("Last-Event-ID: not an id of this stream")
        after = int(last_event_id)
    runtime.streams.check_room()
    told = JobStream(runtime.job_feed, after, query.type, query.job_id)
    return EventStream(runtime.streams, told, admin.expires_at)


class LogStreamQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: Level = Field("DEBUG", description="Only lines of this level or a more severe one")


@router.get(
    "/{job_id}/logs/stream",
    summary="Follow a job's log",
    response_class=Response,  # its errors are JSON: only what is said below is a stream
    responses={
        **admin_responses(InvalidRequest, JobNotFound),
        **_stream(
            "`log`: a line, as the page of the log has it. `waiting`: the job has no run yet. `ready`: all lines up to"
            " here have been told. `unavailable`: Prefect or the database does not answer; it goes on by itself."
            " `end`: the job ended at least five seconds ago, and all its lines have been told. `reauthenticate`: the"
            " token's time is over."
        ),
    },
)
async def follow_logs(
    job_id: Annotated[str, Path(description="Id of the job")],
    query: Annotated[LogStreamQuery, Query()],
    admin: AdminDep,
    runtime: RuntimeDep,
    last_event_id: LastEventId = None,
) -> EventStream:
    """The lines of a job's log, from the first one or after an id, in the order in which they reached Prefect."""
    after = Position.parse(last_event_id) if last_event_id is not None else None
    if last_event_id is not None and after is None:
        raise InvalidRequest("Last-Event-ID: not an id of this stream")
    known = parse_uuid(job_id)
    if known is None or await scheduled_jobs.log_span(known) is None:
        raise JobNotFound
    runtime.streams.check_room()
    level = LEVELS[query.level] if query.level != "DEBUG" else 0
    return EventStream(runtime.streams, LogStream(runtime.log_feeds, known, after, level), admin.expires_at)

"""Who did what, newest first."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from api.cursors import Position
from api.deps import AdminDep, AdminRoute, RuntimeDep
from api.errors import InvalidRequest, admin_responses
from api.queries import AuditQuery
from api.runtime import Runtime
from api.schemas import Answer, UtcTime
from api.users import parse_uuid
from flows.core import audit
from flows.core.audit import Entry

router = APIRouter(prefix="/api/audit", tags=["audit"], route_class=AdminRoute)

_LIST = {"list": "audit"}


class AuditEntry(Answer):
    id: int = Field(description="Number of the entry")
    at: UtcTime = Field(description="When it was")
    actor: str = Field(
        description="Clerk id of the user; `prefect` for what people do there, `reconciler` for what the scheduler puts"
        " right by itself, `service:<name>` for a script"
    )
    action: str = Field(description="trigger, cancel, retry, pause, resume, edit_schedule, reset_schedule, ...")
    job_id: UUID | None = Field(description="The job it was about")
    job_type: str | None = Field(description="The kind of job it was about")
    parameters: Any = Field(description="What was asked for: an object, or whatever JSON a refused call has brought")
    outcome: str = Field(description="What came of it: accepted, done, unchanged, refused, ...")
    details: dict[str, Any] | None = Field(description="More about it, by action")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(**vars(entry))


class AuditPage(Answer):
    entries: list[AuditEntry] = Field(description="Newest first, by at and id")
    total: int = Field(description="How many match; exact to 10,000")
    total_is_estimate: bool = Field(description="True where total is the database's estimate")
    page: int = Field(description="Number of this page, from 1")
    limit: int = Field(description="Most entries a page")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one")


@router.get("", summary="List the audit", responses=admin_responses(InvalidRequest))
async def list_audit(query: Annotated[AuditQuery, Query()], _admin: AdminDep, runtime: RuntimeDep) -> AuditPage:
    """Every change that somebody made or asked for, also refused ones. New entries do not shift a page by cursor."""
    asked = query.filters(query.actor) | _LIST
    position = runtime.cursors.decode(query.cursor, asked) if query.cursor is not None else None
    page = await audit.list_entries(
        query.filters(await _clerk_id(query.actor, runtime)),
        limit=query.limit + 1,  # one more tells whether there is a next page
        offset=0 if position else (query.number - 1) * query.limit,
        before=(position.at, int(position.row_id)) if position else None,
    )
    number = position.page if position else query.number
    shown, more = page.entries[: query.limit], len(page.entries) > query.limit
    below = Position(shown[-1].at, str(shown[-1].id), number + 1) if more else None
    return AuditPage(
        entries=[AuditEntry.of(entry) for entry in shown],
        total=page.total,
        total_is_estimate=page.total_is_estimate,
        page=number,
        limit=query.limit,
        next_cursor=runtime.cursors.encode(below, asked) if below else None,
    )


async def _clerk_id(actor: str | None, runtime: Runtime) -> str | None:
    """The audit holds Clerk ids, as the tokens say them."""
    if actor is None or parse_uuid(actor) is None:
        return actor
    return (await runtime.users.aliases(actor))[-1]

"""The queries of lists, checked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from flows.core.domain import JobStatus, JobType

MOST_BY_PAGE = 10_000

_NUMBER = re.compile(r"\s*[-+]?[\d_.]+\s*")
_DIGITS = re.compile(r"-?[0-9]{1,100}")
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _written_out(value: Any) -> Any:
    """The value, unless it is a number: pydantic would count it from 1970, in seconds or milliseconds by its size."""
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        raise ValueError("must be a time as in 2026-11-23T14:05:00Z")
    return value


def _aware(value: datetime) -> datetime:
    """The time in UTC: the database takes fewer offsets than ISO 8601 has."""
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return _LAST if value.year == _LAST.year else _FIRST


def _digits(value: Any) -> Any:
    """The value, unless it is written as no page or limit is: 1_000, +5, 5.0 and the digits of other scripts."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_digits)]
Time = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_aware)]


class PageQuery(BaseModel):
    """Which page of a list, newest first: by number, or by the cursor that the page before gave."""

    model_config = ConfigDict(extra="forbid")

    from_: Time | None = Field(None, alias="from", description="Only what is of this time or later (UTC if unsaid)")
    to: Time | None = Field(None, description="Only what is of this time or earlier (UTC if unsaid)")
    page: Whole | None = Field(None, ge=1, description="Number of the page, from 1; not together with cursor")
    limit: Whole = Field(50, ge=1, le=200, description="Most entries a page")
    cursor: str | None = Field(None, description="nextCursor of the page before; with the same filters only")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.page is not None and self.cursor is not None:
            raise ValueError("page and cursor exclude each other")
        if self.from_ is not None and self.to is not None and self.from_ > self.to:
            raise ValueError("from is later than to")
        if self.number * self.limit > MOST_BY_PAGE:
            raise ValueError(
                f"page times limit is over {MOST_BY_PAGE}: follow nextCursor with the cursor parameter instead"
            )
        return self

    @property
    def number(self) -> int:
        """Number of the page that is asked for by number."""
        return self.page or 1

    def period(self) -> dict[str, str | None]:
        """`from` and `to` as the database takes them."""
        return {
            "from": self.from_.isoformat() if self.from_ else None,
            "to": self.to.isoformat() if self.to else None,
        }


class JobQuery(PageQuery):
    type: list[JobType] = Field([], max_length=50, description="Only these job types; may repeat")
    status: list[JobStatus] = Field([], max_length=50, description="Only these statuses; may repeat")
    started_by: str | None = Field(
        None,
        alias="startedBy",
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="Only jobs of this user, given by Clerk id or internal id",
    )
    parent: UUID | None = Field(None, description="Only the shards of this job")
    archived: bool = Field(False, description="Jobs that ended more than 90 days ago, from the archive, instead")

    def filters(self, started_by: list[str] | None) -> dict[str, Any]:
        """The filters as `scheduled_jobs.list_jobs` takes them, without those that were not given."""
        given: dict[str, Any] = {
            "types": sorted({one.value for one in self.type}),
            "statuses": sorted({one.value for one in self.status}),
            "startedBy": sorted(started_by or []),
            "parent": str(self.parent) if self.parent else None,
            "archived": self.archived,
            **self.period(),
        }
        return {name: value for name, value in given.items() if value}


class AuditQuery(PageQuery):
    actor: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]{1,200}$",
        description="Only what this user did, given by Clerk id or internal id; or `prefect`, `reconciler`,"
        " `service:<name>`",
    )
    action: str | None = Field(
        None,
        pattern=r"^[a-z_]{1,50}$",
        description="Only this action: trigger, cancel, retry, pause, edit_schedule, ...",
    )
    job_id: UUID | None = Field(None, alias="jobId", description="Only what was done to this job")
    type: JobType | None = Field(None, description="Only what was done to this job type or its jobs")

    def filters(self, actor: str | None) -> dict[str, Any]:
        """The filters as `audit.list_entries` takes them, without those that were not given."""
        given = {
            "actor": actor,
            "action": self.action,
            "jobId": str(self.job_id) if self.job_id else None,
            "type": self.type.value if self.type else None,
            **self.period(),
        }
        return {name: value for name, value in given.items() if value}

"""The query of a list of jobs, checked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from flows.core.domain import JobStatus, JobType

MOST_BY_PAGE = 10_000


_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def _aware(value: datetime) -> datetime:
    """The time in UTC: the database takes fewer offsets than ISO 8601 has."""
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return _LAST if value.year == _LAST.year else _FIRST


Time = Annotated[datetime, AfterValidator(_aware)]


class JobQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

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
    from_: Time | None = Field(
        None, alias="from", description="Only jobs created at or after this time (UTC if unsaid)"
    )
    to: Time | None = Field(None, description="Only jobs created at or before this time (UTC if unsaid)")
    page: int | None = Field(None, ge=1, description="Number of the page, from 1; not together with cursor")
    limit: int = Field(50, ge=1, le=200, description="Most jobs a page")
    cursor: str | None = Field(None, description="nextCursor of the page before; with the same filters only")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.page is not None and self.cursor is not None:
            raise ValueError("page and cursor exclude each other")
        if self.number * self.limit > MOST_BY_PAGE:
            raise ValueError(
                f"page times limit is over {MOST_BY_PAGE}: follow nextCursor with the cursor parameter instead"
            )
        return self

    @property
    def number(self) -> int:
        """Number of the page that is asked for by number."""
        return self.page or 1

    def filters(self, started_by: list[str] | None) -> dict[str, Any]:
        """The filters as `scheduled_jobs.list_jobs` takes them, without those that were not given."""
        given: dict[str, Any] = {
            "types": sorted({one.value for one in self.type}),
            "statuses": sorted({one.value for one in self.status}),
            "startedBy": sorted(started_by or []),
            "parent": str(self.parent) if self.parent else None,
            "archived": self.archived,
            "from": self.from_.isoformat() if self.from_ else None,
            "to": self.to.isoformat() if self.to else None,
        }
        return {name: value for name, value in given.items() if value}

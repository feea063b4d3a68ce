"""Page cursors: where the next page begins, signed, and bound to the filters they were made for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from itsdangerous import BadData, URLSafeSerializer

from api.errors import InvalidRequest
from flows.core.domain import Job

_LONGEST = 1000


@dataclass(frozen=True)
class Position:
    """Below which row a page begins, and its number."""

    created_at: datetime
    job_id: UUID
    page: int

    @classmethod
    def below(cls, job: Job, page: int) -> Self:
        """The position right below a job of the list."""
        return cls(job.created_at, job.id, page)


class Cursors:
    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(secret, salt="jobs", signer_kwargs={"digest_method": hashlib.sha256})

    def encode(self, position: Position, filters: dict[str, Any]) -> str:
        """The position as an opaque text."""
        said: str = self._serializer.dumps(
            [position.created_at.isoformat(), position.job_id.hex, position.page, _fingerprint(filters)]
        )
        return said

    def decode(self, text: str, filters: dict[str, Any]) -> Position:
        """The position of a cursor of ours. Raises InvalidRequest for others, and for one made with other filters."""
        try:
            created_at, job_id, page, fingerprint = self._serializer.loads(text[:_LONGEST])
        except BadData as error:
            raise InvalidRequest("cursor: not a cursor of this API") from error
        if fingerprint != _fingerprint(filters):
            raise InvalidRequest("cursor: it was made with other filters; ask for the first page with these")
        return Position(datetime.fromisoformat(created_at), UUID(job_id), page)


def _fingerprint(filters: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(filters, sort_keys=True).encode()).hexdigest()[:16]

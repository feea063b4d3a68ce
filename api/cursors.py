"""Page cursors: where the next page begins, signed, and bound to the filters they were made for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from itsdangerous import BadData, URLSafeSerializer

from api.errors import InvalidRequest
from flows.core.scheduled_jobs import created_at

_LONGEST = 1000


@dataclass(frozen=True)
class Position:
    """Below which row a page begins, by the row's time and id, and the number of the page."""

    at: datetime
    row_id: str
    page: int

    @classmethod
    def below(cls, row: dict[str, Any], page: int) -> Self:
        """The position right below a job's row of the list."""
        return cls(created_at(row), row["id"], page)


@dataclass(frozen=True)
class LogPosition:
    """After which line a page of a log begins: after so many of those that were said at that moment."""

    said_at: datetime
    lines: int


class Cursors:
    def __init__(self, secret: str) -> None:
        self._serializer = _serializer(secret, "jobs")
        self._logs = _serializer(secret, "logs")

    def encode(self, position: Position, filters: dict[str, Any]) -> str:
        """The position as an opaque text. Lists that could be taken for one another differ in a filter."""
        said: str = self._serializer.dumps(
            [position.at.isoformat(), position.row_id, position.page, _fingerprint(filters)]
        )
        return said

    def decode(self, text: str, filters: dict[str, Any]) -> Position:
        """The position of a cursor of ours. Raises InvalidRequest for others, and for one made with other filters."""
        try:
            at, row_id, page, fingerprint = self._serializer.loads(text[:_LONGEST])
        except BadData as error:
            raise InvalidRequest("cursor: not a cursor of this API") from error
        if fingerprint != _fingerprint(filters):
            raise InvalidRequest("cursor: it was made with other filters; ask for the first page with these")
        return Position(datetime.fromisoformat(at), row_id, page)

    def encode_log(self, position: LogPosition, filters: dict[str, Any]) -> str:
        """The position as an opaque text."""
        said: str = self._logs.dumps([position.said_at.isoformat(), position.lines, _fingerprint(filters)])
        return said

    def decode_log(self, text: str, filters: dict[str, Any]) -> LogPosition:
        """The position of a cursor of ours. Raises InvalidRequest for others, and for one made with other filters."""
        try:
            said_at, lines, fingerprint = self._logs.loads(text[:_LONGEST])
        except BadData as error:
            raise InvalidRequest("cursor: not a cursor of this API") from error
        if fingerprint != _fingerprint(filters):
            raise InvalidRequest("cursor: it was made for another job or level; ask for the first page with these")
        return LogPosition(datetime.fromisoformat(said_at), lines)


def _serializer(secret: str, salt: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=salt, signer_kwargs={"digest_method": hashlib.sha256})


def _fingerprint(filters: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(filters, sort_keys=True).encode()).hexdigest()[:16]

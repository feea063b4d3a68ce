"""Whether the services that the shim needs answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.clients import database
from flows.core.errors import SchedulerError
from flows.core.redaction import redact

_BOUND_SECONDS = 2.0
# Anybody may ask; the neighbours are asked no more often than this.
_FRESH_SECONDS = 2.0


@dataclass(frozen=True)
class Report:
    """A line for each dependency; `failing` names those that do not answer.

    `since` tells when this process first saw each as it is now, on and on.
    """

    lines: dict[str, str]
    failing: list[str]
    since: dict[str, datetime]


class Readiness:
    def __init__(self, checks: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._checks = dict(checks)
        self._lock = asyncio.Lock()
        self._last: tuple[float, Report] | None = None
        self._seen: dict[str, tuple[bool, datetime]] = {}

    async def report(self) -> Report:
        """Asks every dependency at once; those who ask together share an answer."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _FRESH_SECONDS:
                said = await asyncio.gather(*(_line(check) for check in self._checks.values()))
                lines = dict(zip(self._checks, said, strict=True))
                report = Report(lines, [name for name, line in lines.items() if line != "ok"], self._since(lines))
                self._last = (time.monotonic(), report)
            return self._last[1]

    def _since(self, lines: dict[str, str]) -> dict[str, datetime]:
        now = datetime.now(UTC)
        for name, line in lines.items():
            if self._seen.get(name, (None, now))[0] is not (line == "ok"):
                self._seen[name] = (line == "ok", now)
        return {name: at for name, (_, at) in self._seen.items()}


async def _line(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_BOUND_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {_BOUND_SECONDS:g} s"
    except SchedulerError as error:
        return redact(str(error), limit=200)
    return "ok"


async def check_database() -> None:
    """Returns when the database answers the service role."""
    try:
        client = await database.client()
        await client.table("scheduled_jobs").select("id").limit(1).execute()
    except database.CALL_ERRORS as error:
        raise database.translate("check", error) from error

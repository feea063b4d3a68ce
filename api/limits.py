"""How often somebody may change something: a token bucket an actor, in the database, so that replicas are as one.

A route that changes something takes a turn before it does. Trigger and retry take theirs in the call that accepts the
job. Whoever has been told to wait is answered here until then, without asking the database again.
"""

from __future__ import annotations

import math
import time

from api.errors import TooManyRequests
from flows.clients import database

# Their SQL function takes the turn.
OWN_TURN = {("POST", "/api/jobs/trigger"), ("POST", "/api/jobs/{job_id}/retry")}
# They ask by POST because what is asked needs a body.
CHANGES_NOTHING = {("POST", "/api/schedules/preview")}
READING = {"GET", "HEAD", "OPTIONS"}
_MOST_WAITING = 10_000


def changes_something(method: str, path: str) -> bool:
    """Whether a route, by its path's template, changes anything."""
    return method not in READING and (method, path) not in CHANGES_NOTHING


class Turns:
    """The turns of everybody; `per_minute` 0 switches the limit off."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self.rate = {"perMinute": per_minute, "burst": burst} if per_minute else None
        """What the SQL functions want to know; None where there is no limit."""
        self._waiting: dict[str, float] = {}

    def check(self, actor: str) -> None:
        """Raises TooManyRequests while the actor is to wait."""
        until = self._waiting.get(actor)
        if until is not None and (seconds := until - time.monotonic()) > 0:
            raise _told(seconds)

    async def take(self, actor: str) -> None:
        """Takes a turn. Raises TooManyRequests where there is none left."""
        if self.rate is not None:
            seconds = await database.rpc(
                "take_turn", actor=actor, per_minute=self.rate["perMinute"], burst=self.rate["burst"]
            )
            if seconds > 0:
                raise self.spent(actor, seconds)

    def spent(self, actor: str, seconds: float) -> TooManyRequests:
        """The answer to an actor who has no turn for that long; `check` remembers it."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.clear()
        self._waiting[actor] = time.monotonic() + seconds
        return _told(seconds)


def _told(seconds: float) -> TooManyRequests:
    whole = max(1, math.ceil(seconds))
    return TooManyRequests(f"Too many changes: try again in {whole} s", headers={"Retry-After": str(whole)})

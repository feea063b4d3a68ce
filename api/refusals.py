"""The audit of calls that changed nothing: who asked for what, and with which error it was refused.

Written beside the answer, once, and only for those who are known: an admin or a script. What a call that succeeds
leaves in the audit is written by its own SQL function, in the transaction of the change.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from api.auth import Actor
from api.background import Errands
from api.errors import ApiError
from api.limits import OWN_TURN, Turns
from api.users import parse_uuid
from flows.clients import database
from flows.core.domain import JobType
from flows.core.errors import Unavailable
from flows.core.redaction import redact

_LARGEST_PARAMETERS = 2000  # characters of JSON
_MOST_ENTRIES = 20
_DEEPEST = 4
_LARGEST_NUMBER = 10**15
# 412: the SQL function that compares the versions writes the entry. 429: a flood must fill no table.
_NOT_FOR_US = (412, 429)
_OURS = 500
_SECRET_WORDS = ("token", "secret", "password", "authorization", "apikey", "api_key", "credential")
_ACTIONS = {
    ("POST", "/api/jobs/trigger"): "trigger",
    ("POST", "/api/jobs/{job_id}/cancel"): "cancel",
    ("POST", "/api/jobs/{job_id}/retry"): "retry",
    ("PATCH", "/api/job-types/{job_type}/schedule"): "edit_schedule",
    ("DELETE", "/api/job-types/{job_type}/schedule"): "reset_schedule",
}


class Refusals:
    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        # Of their own: a flood of refusals must not take the place of what has to be done.
        self._errands = Errands()

    async def note(self, request: Request, path: str, actor: Actor, error: ApiError, cause: Exception) -> None:
        """Begins to write the entry, where there is to be one. `path` is the route's template."""
        away = isinstance(cause, Unavailable) and cause.service == "database"
        if error.audited or away or error.status in _NOT_FOR_US:
            return
        sent = await request.body()
        self._errands.start("Audit of a refused call", self._write(request, path, actor, error, sent))

    async def _write(self, request: Request, path: str, actor: Actor, error: ApiError, sent: bytes) -> None:
        body = _parsed(sent)
        job_type = request.path_params.get("job_type") or (body.get("jobType") if isinstance(body, dict) else None)
        seconds = await database.rpc(
            "note_refusal",
            actor=actor.clerk_user_id,
            action=_action(request.method, path, body),
            outcome="refused" if error.status < _OURS else "failed",
            job_id=_text(parse_uuid(request.path_params.get("job_id"))),
            job_type=job_type if job_type in list(JobType) else None,
            parameters=presentable(body),
            details={"code": error.code, "status": error.status, "reason": redact(str(error), limit=300)},
            # The others have taken their turn before they were refused.
            rate=self._turns.rate if (request.method, path) in OWN_TURN else None,
        )
        if seconds > 0:
            self._turns.spent(actor.clerk_user_id, seconds)

    async def settled(self, timeout_seconds: float | None = None) -> None:
        """Returns when what was begun is written, or the time-out is over."""
        await self._errands.settled(timeout_seconds)


def _parsed(body: bytes) -> Any:
    """The body's JSON, None where there is none or it is not JSON."""
    try:
        return json.loads(body or b"null")
    except (ValueError, RecursionError):
        return None


def _action(method: str, path: str, body: Any) -> str:
    if (method, path) == ("PUT", "/api/maintenance"):
        return "resume" if isinstance(body, dict) and body.get("paused") is False else "pause"
    return _ACTIONS.get((method, path), f"{method} {path}")


def _text(value: Any) -> str | None:
    return str(value) if value is not None else None


def presentable(body: Any) -> dict[str, Any] | None:
    """What was asked for, bounded and without secrets, as the audit keeps it: always an object."""
    if body is None:
        return None
    shown: dict[str, Any] = _part(body if isinstance(body, dict) else {"body": body}, 0)
    size = len(json.dumps(shown))
    return shown if size <= _LARGEST_PARAMETERS else {"tooLong": size}


def _part(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _clean(value, 200)
    if isinstance(value, dict | list) and depth >= _DEEPEST:
        return "…"
    if isinstance(value, dict):
        entries = list(value.items())[:_MOST_ENTRIES]
        return {_clean(key, 80): "<secret>" if _is_secret(key) else _part(one, depth + 1) for key, one in entries}
    if isinstance(value, list):
        return [_part(one, depth + 1) for one in value[:_MOST_ENTRIES]]
    # A number can be as long as a body, and NaN is none.
    return value if value is None or abs(value) < _LARGEST_NUMBER else _clean(str(value), 40)


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)


def _clean(text: str, limit: int) -> str:
    """Redacted, and as Postgres can keep it."""
    kept = "".join("?" if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text[: limit * 4])
    return redact(kept, limit=limit)

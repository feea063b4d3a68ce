"""Every error the API answers with: one class a code, and the one table from the errors below to them.

ApiError
├── InvalidRequest          400  body, query or parameters are wrong
├── MissingAuthorization    401
├── InvalidToken            401
├── AdminRequired           403
├── MachineKeyRefused       403
├── JobNotFound             404
├── NoSuchRoute             404
├── MethodNotAllowed        405
├── BodyTooSlow             408
├── JobConflict             409
├── ScheduleChanged         412
├── BodyTooLarge            413
├── TargetTooLong           414
├── KeyReused               422
├── TooManyRequests         429  with Retry-After
├── HeadersTooLarge         431
├── Internal                500
├── NotReady                503  with Retry-After
└── NeighbourAway           503  with Retry-After: the database, Prefect or Clerk
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.status import HTTP_400_BAD_REQUEST

from api.schemas import ErrorBody
from flows.core.errors import Conflict, RateLimited, SchedulerError, TransientError

_RETRY_AFTER_SECONDS = 5


class ApiError(Exception):
    """An answer that is an error. The class names status and stable code, the message is for people."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    sentence: ClassVar[str] = "Internal error"

    def __init__(
        self,
        sentence: str | None = None,
        *,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
        audited: bool = False,
    ) -> None:
        super().__init__(sentence or type(self).sentence)
        self.details = details
        self.headers = dict(headers or {})
        self.audited = audited
        """Whether the audit has an entry about this refusal already."""

    def body(self, request_id: str, *, as_problem: bool = False) -> dict[str, Any]:
        """The JSON of the answer; `as_problem` adds the members of application/problem+json."""
        body: dict[str, Any] = {"error": str(self), "code": self.code, "status": self.status, "requestId": request_id}
        if self.details is not None:
            body["details"] = self.details
        if as_problem:
            body |= {"type": "about:blank", "title": type(self).sentence, "detail": str(self)}
        return body


class InvalidRequest(ApiError):
    status, code, sentence = 400, "INVALID_REQUEST", "Invalid request"


class MissingAuthorization(ApiError):
    status, code, sentence = 401, "MISSING_AUTHORIZATION", "Missing authorization"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": "Bearer"})


class InvalidToken(ApiError):
    status, code, sentence = 401, "INVALID_TOKEN", "Invalid or expired token"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


class AdminRequired(ApiError):
    status, code, sentence = 403, "ADMIN_REQUIRED", "Admin access required"


class MachineKeyRefused(ApiError):
    status, code = 403, "MACHINE_KEY_REFUSED"
    sentence = "A machine key may trigger jobs and read; everything else takes an admin's session"


class JobNotFound(ApiError):
    status, code, sentence = 404, "JOB_NOT_FOUND", "Job not found"


class NoSuchRoute(ApiError):
    status, code, sentence = 404, "NO_SUCH_ROUTE", "No such route"


class MethodNotAllowed(ApiError):
    status, code, sentence = 405, "METHOD_NOT_ALLOWED", "Method not allowed"


class BodyTooSlow(ApiError):
    status, code, sentence = 408, "BODY_TOO_SLOW", "The body did not arrive in time"


class JobConflict(ApiError):
    status, code, sentence = 409, "CONFLICT", "Conflict"


class ScheduleChanged(ApiError):
    status, code, sentence = 412, "SCHEDULE_CHANGED", "The schedule has been edited since: read it again"


class BodyTooLarge(ApiError):
    status, code, sentence = 413, "BODY_TOO_LARGE", "The body is larger than 64 KiB"


class TargetTooLong(ApiError):
    status, code, sentence = 414, "TARGET_TOO_LONG", "Path and query are longer than 8 KiB together"


class KeyReused(ApiError):
    status, code = 422, "IDEMPOTENCY_KEY_REUSED"
    sentence = "This Idempotency-Key was used with another payload"


class TooManyRequests(ApiError):
    status, code, sentence = 429, "RATE_LIMITED", "Too many changes"


class HeadersTooLarge(ApiError):
    status, code = 431, "HEADERS_TOO_LARGE"
    sentence = "The request has more than 100 headers, or more than 32 KiB of them"


class Internal(ApiError):
    pass


class NotReady(ApiError):
    status, code, sentence = 503, "NOT_READY", "Not ready"

    def __init__(self, sentence: str | None = None, *, details: Any = None, retry_after: int = 5) -> None:
        super().__init__(sentence, details=details, headers={"Retry-After": str(retry_after)})


class NeighbourAway(NotReady):
    code, sentence = "SERVICE_UNAVAILABLE", "A service this one needs cannot be reached"


def from_scheduler_error(error: SchedulerError) -> ApiError:
    """The answer that an error of `flows.core.errors` becomes when a handler lets it through."""
    if isinstance(error, RateLimited):
        return NeighbourAway(str(error), retry_after=math.ceil(error.retry_after_seconds))
    if isinstance(error, TransientError):
        return NeighbourAway(str(error), retry_after=_RETRY_AFTER_SECONDS)
    if isinstance(error, Conflict):
        return JobConflict(str(error))
    return Internal()


def from_status(status: int, detail: str, headers: Mapping[str, str] | None) -> ApiError:
    """The answer for an error that the framework raises by status alone."""
    kinds = {404: NoSuchRoute, 405: MethodNotAllowed, 413: BodyTooLarge}
    kind = kinds.get(status)
    if kind is not None:
        return kind(headers=headers)
    if status == HTTP_400_BAD_REQUEST:  # the framework raises it for nothing else, and does not say what is valid
        return InvalidRequest("body: not JSON that can be read: UTF-8, not compressed, not nested too deep")
    return InvalidRequest(detail, headers=headers) if status < 500 else Internal()  # noqa: PLR2004


def responses(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can answer with these errors."""
    declared: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = declared.setdefault(kind.status, {"model": ErrorBody, "description": ""})
        entry["description"] = "; ".join(filter(None, [entry["description"], f"`{kind.code}`: {kind.sentence}"]))
    return declared


def admin_responses(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route for admins: these errors, and those that every such route can answer with."""
    return responses(
        MissingAuthorization,
        InvalidToken,
        AdminRequired,
        MachineKeyRefused,
        *kinds,
        BodyTooLarge,
        Internal,
        NeighbourAway,
    )

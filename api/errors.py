"""Every error the API answers with: one class a code, and the one table from the errors below to them.

ApiError
├── InvalidRequest          400  body, query or parameters are wrong
├── MissingAuthorization    401
├── InvalidToken            401
├── AdminRequired           403
├── JobNotFound             404
├── NoSuchRoute             404
├── MethodNotAllowed        405
├── JobConflict             409
├── BodyTooLarge            413
├── KeyReused               422
├── Internal                500
├── NotReady                503  with Retry-After
└── NeighbourAway           503  with Retry-After: the database, Prefect or Clerk
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from api.schemas import ErrorBody
from flows.core.errors import Conflict, RateLimited, SchedulerError, TransientError

_RETRY_AFTER_SECONDS = 5


class ApiError(Exception):
    """An answer that is an error. The class names status and stable code, the message is for people."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    sentence: ClassVar[str] = "Internal error"

    def __init__(
        self, sentence: str | None = None, *, details: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence or type(self).sentence)
        self.details = details
        self.headers = dict(headers or {})

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


class JobNotFound(ApiError):
    status, code, sentence = 404, "JOB_NOT_FOUND", "Job not found"


class NoSuchRoute(ApiError):
    status, code, sentence = 404, "NO_SUCH_ROUTE", "No such route"


class MethodNotAllowed(ApiError):
    status, code, sentence = 405, "METHOD_NOT_ALLOWED", "Method not allowed"


class JobConflict(ApiError):
    status, code, sentence = 409, "CONFLICT", "Conflict"


class BodyTooLarge(ApiError):
    status, code, sentence = 413, "BODY_TOO_LARGE", "The body is larger than 64 KiB"


class KeyReused(ApiError):
    status, code = 422, "IDEMPOTENCY_KEY_REUSED"
    sentence = "This Idempotency-Key was used with another payload"


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
    return responses(MissingAuthorization, InvalidToken, AdminRequired, *kinds, BodyTooLarge, Internal, NeighbourAway)

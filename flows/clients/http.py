"""The rules for every call to a neighbour: one client a process, headers, time-outs, and errors in our own words."""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from flows.core.errors import (
    AnswerLost,
    EndpointAbsent,
    NeighbourFailed,
    NotFound,
    NotSent,
    RateLimited,
    Refused,
    Unavailable,
)
from flows.core.lease import current_lease
from flows.core.redaction import redact
from flows.core.settings import settings

Answer = TypeVar("Answer", bound=BaseModel)

_DEFAULT_RETRY_AFTER_SECONDS = 60.0
# The user and discovery services restart their full minute at every request made while limited,
# so a 429 silences the whole host, not only the call that met it. Host and port → monotonic time.
_silent_until: dict[str, float] = {}
_client: httpx.AsyncClient | None = None
_client_loop: asyncio.AbstractEventLoop | None = None


def client() -> httpx.AsyncClient:
    """The process's HTTP client. A new event loop (tests) gets a new one: connections belong to a loop."""
    global _client, _client_loop  # noqa: PLW0603  # the accessor is the one place that makes it
    loop = asyncio.get_running_loop()
    if _client is None or _client_loop is not loop:
        _client = httpx.AsyncClient(follow_redirects=False, limits=httpx.Limits(max_connections=100))
        _client_loop = loop
    return _client


async def close() -> None:
    """Closes the client if there is one."""
    global _client  # noqa: PLW0603
    if _client is not None:
        await _client.aclose()
        _client = None


async def post(
    service: str,
    url: str,
    body: Any,
    *,
    answer: type[Answer],
    timeout_seconds: float,
    idempotency_key: str | None = None,
) -> Answer:
    """POSTs JSON and returns the parsed answer.

    Raises a TransientError or PermanentError of `flows.core.errors`; `service` names the neighbour in its message.
    """
    return await _call("POST", service, url, answer, timeout_seconds, json=body, idempotency_key=idempotency_key)


async def get(
    service: str, url: str, *, answer: type[Answer], timeout_seconds: float, params: dict[str, Any] | None = None
) -> Answer:
    """GETs and returns the parsed answer; errors as `post`."""
    return await _call("GET", service, url, answer, timeout_seconds, params=params)


async def _call(
    method: str,
    service: str,
    url: str,
    answer: type[Answer],
    timeout_seconds: float,
    *,
    idempotency_key: str | None = None,
    **request: Any,
) -> Answer:
    host = urlsplit(url).netloc
    lease = current_lease()
    if lease is not None:
        await lease.before_acting()
    wait = _silent_until.get(host, 0.0) - time.monotonic()
    if wait > 0:
        raise RateLimited(f"{service} asked for quiet, {wait:.0f} s are left", wait)
    try:
        async with asyncio.timeout(timeout_seconds):
            # httpx's own limits are per read: a body that drips would never meet them.
            response = await client().request(
                method,
                url,
                headers=_headers(idempotency_key),
                timeout=httpx.Timeout(timeout_seconds, connect=5),
                **request,
            )
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotSent(f"{service} cannot be reached: {_reason(error)}") from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise AnswerLost(f"{service} gave no answer within {timeout_seconds:g} s") from error
    except httpx.TransportError as error:
        raise AnswerLost(f"{service} closed the connection without an answer: {_reason(error)}") from error
    if not response.is_success:
        raise _failure(service, host, response)
    return _parse(service, response, answer)


def _headers(idempotency_key: str | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    lease = current_lease()
    if lease is not None:
        headers["X-Scheduler-Execution-Id"] = str(lease.job_id)
    token = settings().service_token
    if token is not None:
        headers["X-Service-Token"] = token.get_secret_value()
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    return headers


def _parse(service: str, response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        body = response.json()
    except ValueError as error:
        raise NeighbourFailed(f"{service} answered {response.status_code} with something that is not JSON") from error
    if isinstance(body, dict) and body.get("success") is False:
        raise NeighbourFailed(f"{service} answered {response.status_code}, but not done: {_message(body)}")
    try:
        return answer.model_validate(body)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, e["loc"])) + ": " + e["msg"] for e in error.errors()[:3])
        raise NeighbourFailed(f"{service} answered in a shape it does not promise ({wrong})") from error


def _failure(service: str, host: str, response: httpx.Response) -> Exception:
    """The error that a non-2xx answer stands for. Bodies come in three shapes; all of them have `error`."""
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = {}
    said = _message(body if isinstance(body, dict) else {})
    text = f"{service} answered {status}" + (f": {said}" if said else "")
    if status == httpx.codes.TOO_MANY_REQUESTS:
        seconds = _retry_after(response)
        _silent_until[host] = time.monotonic() + seconds
        return RateLimited(text, seconds)
    if status in (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT):
        return Unavailable(text, service, may_be_done=status != httpx.codes.SERVICE_UNAVAILABLE)
    if status == httpx.codes.NOT_FOUND:
        absent = said.startswith(("Endpoint not found", "Route "))
        return EndpointAbsent(f"{text} (is its address right?)") if absent else NotFound(text)
    if response.is_client_error:
        content = (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY)
        return Refused(text, for_its_content=status in content)
    return NeighbourFailed(text)


def _message(body: dict[str, Any]) -> str:
    parts = [str(body[key]) for key in ("error", "message") if isinstance(body.get(key), str)]
    return redact(": ".join(dict.fromkeys(parts)), limit=200)


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers["retry-after"]), 1.0), 600.0)
    except (KeyError, ValueError):
        return _DEFAULT_RETRY_AFTER_SECONDS


def _reason(error: Exception) -> str:
    return redact(str(error) or type(error).__name__, limit=200)

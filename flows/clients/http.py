"""The rules for every call to a neighbour: one client a process, headers, time-outs, and errors in our own words.

Calls that come by the hundred thousand go past the client, straight to a transport of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from flows.clients import tls
from flows.clients.many import ManyCalls
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

_CONNECT_SECONDS = 5.0
_DEFAULT_RETRY_AFTER_SECONDS = 60.0
# The user and discovery services restart their full minute at every request made while limited,
# so a 429 silences the whole host, not only the call that met it. Host and port → monotonic time.
_silent_until: dict[str, float] = {}
_client: httpx.AsyncClient | None = None
_client_loop: asyncio.AbstractEventLoop | None = None
_many: ManyCalls | None = None
_many_loop: asyncio.AbstractEventLoop | None = None


def client() -> httpx.AsyncClient:
    """The process's HTTP client. A new event loop (tests) gets a new one: connections belong to a loop."""
    global _client, _client_loop  # noqa: PLW0603  # the accessor is the one place that makes it
    loop = asyncio.get_running_loop()
    if _client is None or _client_loop is not loop:
        _client = httpx.AsyncClient(
            follow_redirects=False,
            limits=httpx.Limits(max_connections=100),
            cookies=no_cookies(),
            verify=tls.trusted(),
        )
        _client_loop = loop
    return _client


def no_cookies() -> CookieJar:
    """A jar that stays empty, whatever a service sets."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def _many_calls() -> ManyCalls:
    """The process's transport for calls in great numbers.

    A client around it would look for cookies, redirects and credentials in each of them, at twice its cost.
    """
    global _many, _many_loop  # noqa: PLW0603
    loop = asyncio.get_running_loop()
    if _many is None or _many_loop is not loop:
        _many = ManyCalls(settings().email_send_concurrency)
        _many_loop = loop
    return _many


async def close() -> None:
    """Closes the connections there are."""
    global _client, _many  # noqa: PLW0603
    if _client is not None:
        await _client.aclose()
        _client = None
    if _many is not None:
        await _many.aclose()
        _many = None


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
    call = _Call(service, "POST", url, timeout_seconds, idempotency_key)
    return await _made(call, _through_client(call, json=body), answer)


async def post_many(
    service: str,
    url: str,
    body: bytes,
    *,
    answer: type[Answer],
    timeout_seconds: float,
    idempotency_key: str | None = None,
) -> Answer:
    """`post` for a call that is one of very many; `body` is JSON already."""
    call = _Call(service, "POST", url, timeout_seconds, idempotency_key)
    headers = {"Content-Type": "application/json", **_headers(idempotency_key)}
    limits = {"timeout": {"connect": _CONNECT_SECONDS}}
    request = httpx.Request("POST", _parsed(url), headers=headers, content=body, extensions=limits)
    return await _made(call, lambda: _many_calls().handle_async_request(request), answer)


async def get(
    service: str, url: str, *, answer: type[Answer], timeout_seconds: float, params: dict[str, Any] | None = None
) -> Answer:
    """GETs and returns the parsed answer; errors as `post`."""
    call = _Call(service, "GET", url, timeout_seconds)
    return await _made(call, _through_client(call, params=params), answer)


@dataclass(frozen=True)
class _Call:
    service: str
    method: str
    url: str
    timeout_seconds: float
    idempotency_key: str | None = None


@lru_cache
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _through_client(call: _Call, **content: Any) -> Callable[[], Awaitable[httpx.Response]]:
    return lambda: client().request(
        call.method,
        call.url,
        headers=_headers(call.idempotency_key),
        timeout=httpx.Timeout(call.timeout_seconds, connect=_CONNECT_SECONDS),
        **content,
    )


async def _made(call: _Call, send: Callable[[], Awaitable[httpx.Response]], answer: type[Answer]) -> Answer:
    service, host = call.service, urlsplit(call.url).netloc
    lease = current_lease()
    if lease is not None:
        await lease.before_acting()
    wait = _silent_until.get(host, 0.0) - time.monotonic()
    if wait > 0:
        raise RateLimited(f"{service} asked for quiet, {wait:.0f} s are left", wait)
    try:
        async with asyncio.timeout(call.timeout_seconds):
            # httpx's own limits are per read: a body that drips would never meet them.
            response = await send()
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotSent(f"{service} cannot be reached: {_reason(error)}") from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise AnswerLost(f"{service} gave no answer within {call.timeout_seconds:g} s") from error
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

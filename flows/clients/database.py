"""The site's database over PostgREST: functions are called with `rpc`, one client a process.

Reads and writes that matter are SQL functions. Errors come out as `flows.core.errors`, told apart by SQLSTATE or
PostgREST code, never by message. Reads through PostgREST are cut at 1,000 rows without a word: `rows` pages by key.

Functions are called past supabase-py and httpx's client, straight on the transport under it: the two cost five times
what the call itself does, and an answer of the shim waits for it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import orjson
from postgrest.exceptions import APIError
from pydantic import TypeAdapter
from supabase import AsyncClient, AsyncClientOptions, Client, ClientOptions, acreate_client, create_client

from flows.clients import tls
from flows.clients.many import ManyCalls
from flows.core.errors import Conflict, LeaseLost, PermanentError, SchedulerError, Unavailable
from flows.core.lease import current_lease
from flows.core.settings import settings

T = TypeVar("T")

TIMEOUT_SECONDS = 10
MOST_ROWS = 1000  # of one answer: PostgREST keeps the rest to itself
PATIENCE_SECONDS = 900.0
_SERVICE = "database"
# Lost connections (08), shutdown (57P0x), too many connections (53), statement or lock time-outs, serialization,
# deadlock; PGRST000-003 and 503: PostgREST has no connection to give.
_HTTP_STATUS = re.compile(r"\d{3}")
# Statuses of a gateway that say the request is wrong. All others, 5xx and the 52x of a CDN, are an outage.
_OUR_MISTAKES = ("400", "401", "403", "404", "405", "406", "409", "413", "414", "415", "422")
_TRANSIENT = ("08", "53", "57P", "57014", "55P03", "40001", "40P01", "PGRST000", "PGRST001", "PGRST002", "PGRST003")

_rows = TypeAdapter(list[dict[str, Any]])

CALL_ERRORS = (APIError, httpx.HTTPError, json.JSONDecodeError)  # what a failed call through supabase-py raises

_CONNECTIONS = 50
_TIME_OUTS = dict.fromkeys(("connect", "read", "pool"), float(TIMEOUT_SECONDS))


class _Connection:
    """The process's connections to PostgREST, and what every call says."""

    def __init__(self, url: str, key: str) -> None:
        self.transport = ManyCalls(_CONNECTIONS, through_proxy=True)
        self._key = key
        self._url = url
        self._functions = f"{url.rstrip('/')}/rest/v1/rpc"
        self._headers = {"apikey": key, "Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._tables: AsyncClient | None = None

    async def tables(self) -> AsyncClient:
        """supabase-py over the same connections, for reads of tables."""
        if self._tables is None:
            self._tables = await acreate_client(
                self._url,
                self._key,
                AsyncClientOptions(
                    auto_refresh_token=False,
                    persist_session=False,
                    postgrest_client_retry=False,
                    httpx_client=httpx.AsyncClient(transport=self.transport, timeout=TIMEOUT_SECONDS),
                ),
            )
        return self._tables

    async def call(self, function: str, parameters: dict[str, Any], page: dict[str, str] | None = None) -> Any:
        """The answer of a function. Raises APIError for a refusal, and httpx's errors."""
        body = json.dumps(parameters, separators=(",", ":"), allow_nan=False).encode()
        return await self._answer("POST", function, page, body)

    async def read(self, function: str, parameters: dict[str, str]) -> Any:
        """The answer of a function that changes nothing: PostgREST need not take a body apart for it."""
        return await self._answer("GET", function, parameters, None)

    async def _answer(self, method: str, function: str, query: dict[str, str] | None, body: bytes | None) -> Any:
        url = f"{self._functions}/{function}?{urlencode(query)}" if query else f"{self._functions}/{function}"
        status, _, content = await self.transport.exchange(method, url, self._headers, body, _TIME_OUTS)
        if not httpx.codes.is_success(status):
            raise _refusal(status, content)
        return orjson.loads(content) if content else None


def _refusal(status: int, content: bytes) -> APIError:
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or "code" not in told:
        # A gateway's own page, or its JSON: only the status says what it is.
        told = {"code": str(status), "message": "", "hint": None, "details": None}
    return APIError(told)


_connection: _Connection | None = None
_connection_loop: asyncio.AbstractEventLoop | None = None


def _connected() -> _Connection:
    """The process's connections; a new event loop (tests) gets new ones."""
    global _connection, _connection_loop  # the accessor is the one place that makes it
    loop = asyncio.get_running_loop()
    if _connection is None or _connection_loop is not loop:
        key = settings().supabase_service_key.get_secret_value()
        _connection, _connection_loop = _Connection(settings().supabase_url, key), loop
    return _connection


async def client() -> AsyncClient:
    """The process's client for reads of tables."""
    return await _connected().tables()


async def close() -> None:
    """Closes the connections if there are any."""
    global _connection  # noqa: PLW0603
    if _connection is not None:
        await _connection.transport.aclose()
        _connection = None


def make_sync_client() -> Client:
    """A blocking client for a thread of its own: renewing a lease must not wait for an event loop."""
    return create_client(
        settings().supabase_url,
        settings().supabase_service_key.get_secret_value(),
        ClientOptions(
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
            # supabase-py's own would follow redirects, and take the key along to another host.
            httpx_client=httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False, verify=tls.trusted()),
        ),
    )


async def rpc(function: str, **parameters: Any) -> Any:
    """Calls an SQL function and returns its JSON. Parameters are named as in SQL, without their `p_`.

    Raises Unavailable (try again), LeaseLost (SJ001), Conflict (SJ002) or PermanentError.
    """
    try:
        return await _connected().call(function, _named(parameters))
    except CALL_ERRORS as error:
        raise translate(function, error) from error


async def read(function: str, **parameters: str) -> Any:
    """`rpc` for a function that is `stable`, and whose parameters are short and no secret: they are in the address."""
    try:
        return await _connected().read(function, _named(parameters))
    except CALL_ERRORS as error:
        raise translate(function, error) from error


async def page(function: str, *, key: str, after: Any = None, **parameters: Any) -> list[dict[str, Any]]:
    """The next rows, at most 1,000, of a function that returns a table and changes nothing, in the order of `key`.

    `key` is a column that no two rows share; the page begins beyond its value `after`.
    """
    part = {"order": f"{key}.asc", "limit": str(MOST_ROWS)} | ({} if after is None else {key: f"gt.{after}"})
    try:
        found = await _connected().call(function, _named(parameters), part)
    except CALL_ERRORS as error:
        raise translate(function, error) from error
    return _rows.validate_python(found)


async def rows(function: str, *, key: str, **parameters: Any) -> list[dict[str, Any]]:
    """Every row of such a function, however many pages they are."""
    found: list[dict[str, Any]] = []
    while True:
        more = await page(function, key=key, after=found[-1][key] if found else None, **parameters)
        found += more
        if len(more) < MOST_ROWS:
            return found


async def patient_rpc(function: str, **parameters: Any) -> Any:
    """`rpc` for runs: waits through an outage of up to 15 minutes, as long as the lease has not been taken away.

    For functions that may be called again after an answer was lost.
    """
    return await patiently(lambda: rpc(function, **parameters))


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns, tried again as `patient_rpc` does; for a call that is not the same each time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    delay = 0.5
    while True:
        lease = current_lease()
        if lease is not None:
            # After an outage the beat comes first: the database calls a lease dead that was not renewed for 90 s.
            await lease.before_acting()
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(delay * random.uniform(1.0, 1.5))  # noqa: S311  # jitter, not a secret
        delay = min(delay * 2, 10.0)


def sync_rpc(sync_client: Client, function: str, **parameters: Any) -> Any:
    """`rpc` through a client of `make_sync_client`."""
    try:
        return sync_client.rpc(function, _named(parameters)).execute().data
    except CALL_ERRORS as error:
        raise translate(function, error) from error


def _named(parameters: dict[str, Any]) -> dict[str, Any]:
    return {f"p_{name}": value for name, value in parameters.items()}


def translate(what: str, error: Exception) -> SchedulerError:
    """Our word for a failed call. Messages of the database stay out of it: they can quote row data."""
    if not isinstance(error, APIError):
        return Unavailable(f"the database cannot be reached ({what}: {type(error).__name__})", _SERVICE)
    code = str(error.code or "")
    if code == "SJ001":
        return LeaseLost(error.message or "lease lost")
    if code == "SJ002":
        return Conflict(error.message or "conflict")
    # In an outage an error can come with an empty code, or with the HTTP status of the gateway as its code.
    if not code or code.startswith(_TRANSIENT) or (_HTTP_STATUS.fullmatch(code) and code not in _OUR_MISTAKES):
        return Unavailable(f"the database cannot answer now ({what}: {code or 'no code'})", _SERVICE)
    return PermanentError(f"the database refused {what} with {code}")

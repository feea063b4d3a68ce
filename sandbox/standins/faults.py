"""Faults to switch on in a stand-in, and the log of the calls it received; the same for every one of them.

`GET /__faults` tells what is on and how many requests have `met` it, `PUT /__faults` with
`{"fault": "hang", "times": 3, "seconds": 5}` switches it on (`{"fault": null}` off; without `times` until switched
off). With `"share": 0.02` it happens to so many of the requests only, `"seed": 7` makes them the same ones each time.
`GET /__calls` tells what arrived, `DELETE /__calls` forgets it.
These routes answer only to this machine. Neither they nor `/health` are ever faulty or logged.

slow   answers after `seconds` (default 5)
500, 503, 429   does nothing and answers that status (429 with `retry-after: <seconds>`)
hang   does nothing and never answers
drop   does the work, then closes the connection without a byte of answer
"""

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERY_SERVICE = ("slow", "500", "503", "429", "hang", "drop")
DEFAULT_SECONDS = 5.0
REMEMBERED_CALLS = 200
_LOOPBACK = {"127.0.0.1", "::1"}
_ERRORS = {"500": "Internal server error", "503": "Service unavailable", "429": "Too many requests"}

Received: TypeAlias = Callable[[Any], list[str]]
"""Which items (row ids, recipients) a request's JSON body carries, for the log of calls."""


@dataclass
class Faults:
    """What is switched on: at most one fault, for the next `times` requests or (None) until it is switched off.

    `share` of the requests meet it, picked by `chance`; `met` counts those since it was switched on.
    """

    known: tuple[str, ...] = EVERY_SERVICE
    fault: str | None = None
    times: int | None = None
    seconds: float = DEFAULT_SECONDS
    share: float = 1.0
    met: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def take(self) -> str | None:
        """The fault that this request meets; uses up one of its times."""
        taken = self.fault
        if taken is None or (self.share < 1 and self.chance.random() >= self.share):
            return None
        self.met += 1
        if self.times is not None:
            self.times -= 1
            if self.times <= 0:
                self.fault, self.times = None, None
        return taken

    def switch(self, wanted: Any) -> None:
        """Switch on what the control request asks for. ValueError names the wrong value."""
        if not isinstance(wanted, dict) or "fault" not in wanted:
            raise ValueError('expected a JSON object such as {"fault": "slow", "times": 2, "seconds": 5}')
        fault, times, seconds = wanted["fault"], wanted.get("times"), wanted.get("seconds")
        share, seed = wanted.get("share"), wanted.get("seed")
        if fault is not None and fault not in self.known:
            raise ValueError(f"unknown fault {fault!r}; this service knows {', '.join(self.known)}")
        if times is not None and (not isinstance(times, int) or times < 1):
            raise ValueError(f"times is {times!r}; it must be a whole number from 1")
        if seconds is not None and (not isinstance(seconds, int | float) or seconds < 0):
            raise ValueError(f"seconds is {seconds!r}; it must be a number from 0")
        if share is not None and (not isinstance(share, int | float) or not 0 < share <= 1):
            raise ValueError(f"share is {share!r}; it must be a number over 0, up to 1")
        if seed is not None and not isinstance(seed, int):
            raise ValueError(f"seed is {seed!r}; it must be a whole number")
        self.fault, self.times = fault, times if fault else None
        self.seconds = DEFAULT_SECONDS if seconds is None else float(seconds)
        self.share, self.met, self.chance = 1.0 if share is None else float(share), 0, random.Random(seed)  # noqa: S311 - no secret

    def state(self) -> dict[str, Any]:
        return {
            "fault": self.fault,
            "times": self.times,
            "seconds": self.seconds,
            "share": self.share,
            "met": self.met,
            "known": list(self.known),
        }


@dataclass
class Call:
    """One request as it arrived; `status` stays None when no answer was given."""

    at: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    items: int
    fault: str | None
    status: int | None = None


@dataclass
class Calls:
    """Every item received, in order and without a limit, and the most recent requests."""

    count: int = 0
    received: list[str] = field(default_factory=list)
    recent: deque[Call] = field(default_factory=lambda: deque(maxlen=REMEMBERED_CALLS))

    def note(self, scope: Scope, items: list[str], fault: str | None) -> Call:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        for secret in ("authorization", "x-service-token", "cookie"):
            if secret in headers:
                headers[secret] = "(given)"
        call = Call(
            at=datetime.now(UTC).isoformat(),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            items=len(items),
            fault=fault,
        )
        self.count += 1
        self.received += items
        self.recent.append(call)
        return call

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "received": self.received, "recent": [asdict(call) for call in self.recent]}

    def forget(self) -> None:
        self.count = 0
        self.received.clear()
        self.recent.clear()


class FaultMiddleware:
    """The outermost layer of a stand-in: logs each request, then lets the fault that is on happen to it.

    A service's own faults (`no_results`) do nothing here: the service finds the name in `request.state.fault`.
    """

    def __init__(self, app: ASGIApp, faults: Faults, calls: Calls, received: Received) -> None:
        self.app, self.faults, self.calls, self.received = app, faults, calls, received

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/health":
            await self.app(scope, receive, send)
        elif scope["path"].startswith("/__"):
            local = scope["client"] is not None and scope["client"][0] in _LOOPBACK
            refusal = JSONResponse({"error": "Only this machine may do that"}, status_code=403)
            await (self.app if local else refusal)(scope, receive, send)
        else:
            # Only the end of the process cancels a request, and then its connection is already cut.
            with suppress(asyncio.CancelledError):
                await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _whole_body(receive)
        fault, seconds = self.faults.take(), self.faults.seconds
        call = self.calls.note(scope, _items(self.received, body), fault)
        scope.setdefault("state", {})["fault"] = fault
        answer = _noting_status(call, send)
        if fault == "hang":
            await _until_client_leaves(receive)
        elif fault in _ERRORS:
            await _error(fault, seconds)(scope, receive, answer)
        elif fault == "drop":
            await self.app(scope, _replay(body, receive), _swallow)
            await _close_connection(scope, receive)
        else:
            if fault == "slow":
                await asyncio.sleep(seconds)
            await self.app(scope, _replay(body, receive), answer)


def control_routes(faults: Faults, calls: Calls) -> list[Route]:
    async def fault_state(_request: Request) -> Response:
        return JSONResponse(faults.state())

    async def switch_fault(request: Request) -> Response:
        try:
            faults.switch(await request.json())
        except ValueError as wrong:
            return JSONResponse({"error": str(wrong)}, status_code=400)
        return JSONResponse(faults.state())

    async def call_state(_request: Request) -> Response:
        return JSONResponse(calls.state())

    async def forget_calls(_request: Request) -> Response:
        calls.forget()
        return Response(status_code=204)

    return [
        Route("/__faults", fault_state, methods=["GET"]),
        Route("/__faults", switch_fault, methods=["PUT"]),
        Route("/__calls", call_state, methods=["GET"]),
        Route("/__calls", forget_calls, methods=["DELETE"]),
    ]


def _error(fault: str, seconds: float) -> Response:
    headers = {"retry-after": str(max(1, round(seconds)))} if fault == "429" else None
    body = {"error": _ERRORS[fault], "message": f"fault {fault} is switched on", "requestId": str(uuid4())}
    return JSONResponse(body, status_code=int(fault), headers=headers)


def _items(received: Received, body: bytes) -> list[str]:
    try:
        return received(json.loads(body)) if body else []
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # The service itself will refuse this body; the log only counts it.


async def _whole_body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _noting_status(call: Call, send: Send) -> Send:
    async def noting(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        await send(message)

    return noting


async def _swallow(_message: Message) -> None:
    """Take an answer that nobody will ever see."""


async def _until_client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close_connection(scope: Scope, receive: Receive) -> None:
    transport: asyncio.Transport = scope["state"]["transport"]  # put there by the protocol class in __main__.py
    transport.close()
    # Until the server itself has noticed, returning without an answer would make it send a 500.
    await _until_client_leaves(receive)

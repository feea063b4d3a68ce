"""The neighbour of the misbehaving flow: notes every call with its time. A process of its own, `python -m ...recorder`.

POST /step                 one step; answers after `hold_seconds`
GET  /step/{root}/{step}   whether that step was ever received
POST /api/crawl/batch      noted, held, then handed on to the stand-in crawler, also when the caller has hung up
GET  /calls?since=n        the calls from the n-th on
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# Long enough for a process to be killed at any moment of a batch, well below the 60 s after which it counts as lost.
CRAWL_HOLD_SECONDS = 20.0


class Recorder:
    def __init__(self, crawler_url: str) -> None:
        self._crawler_url = crawler_url
        self._calls: list[dict[str, Any]] = []
        self._steps: set[tuple[str, int]] = set()
        self._http = httpx.AsyncClient(trust_env=False, timeout=60)

    def app(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with self._http:
                yield

        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/step", self._step, methods=["POST"]),
                Route("/step/{root}/{step:int}", self._is_known),
                Route("/api/crawl/batch", self._crawl, methods=["POST"]),
                Route("/calls", self._tell),
            ],
            lifespan=lifespan,
        )

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "healthy"})

    def _note(self, request: Request, **more: Any) -> dict[str, Any]:
        call = {
            "at": time.time(),
            "answered_at": None,
            "job": request.headers.get("x-scheduler-execution-id"),
            **more,
        }
        self._calls.append(call)
        return call

    async def _step(self, request: Request) -> Response:
        body = await request.json()
        call = self._note(request, kind="step", **{name: body[name] for name in ("root", "step", "fence", "pid")})
        self._steps.add((body["root"], body["step"]))
        await asyncio.sleep(body["hold_seconds"])
        call["answered_at"] = time.time()
        return JSONResponse({"noted": True})

    async def _is_known(self, request: Request) -> Response:
        return JSONResponse({"noted": (request.path_params["root"], request.path_params["step"]) in self._steps})

    async def _crawl(self, request: Request) -> Response:
        body = await request.json()
        call = self._note(request, kind="crawl", ids=[one["id"] for one in body["discoveries"]])
        await asyncio.sleep(CRAWL_HOLD_SECONDS)
        answer = await self._http.post(f"{self._crawler_url}/api/crawl/batch", json=body)
        call["answered_at"] = time.time()
        return Response(answer.content, answer.status_code, media_type="application/json")

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(self._calls[int(request.query_params.get("since", "0")) :])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recorder", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--crawler", required=True, help="base URL of the stand-in crawler")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    uvicorn.run(
        Recorder(options.crawler).app(),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()

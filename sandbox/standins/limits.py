"""The rate limit of the user and discovery services: 100 requests a minute for each caller, with its quirk."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class _Window:
    began_at: float
    requests: int = 0


@dataclass
class RateLimit:
    """Counts one caller's requests; the quirk is that a refused request begins the full minute again."""

    requests: int = 100
    seconds: float = 60
    clock: Callable[[], float] = time.monotonic
    windows: dict[str, _Window] = field(default_factory=dict)

    def admits(self, caller: str) -> bool:
        now = self.clock()
        window = self.windows.get(caller)
        if window is None or now - window.began_at >= self.seconds:
            window = self.windows[caller] = _Window(now)
        window.requests += 1
        if window.requests <= self.requests:
            return True
        window.began_at = now
        return False


class RateLimitMiddleware:
    def __init__(self, app: ASGIApp, limit: RateLimit) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limited = scope["type"] == "http" and scope["path"] != "/health" and not scope["path"].startswith("/__")
        if not limited or self.limit.admits(scope["client"][0]):
            await self.app(scope, receive, send)
            return
        seconds = round(self.limit.seconds)
        body = {
            "statusCode": 429,
            "error": "Too Many Requests",
            "message": f"Rate limit exceeded, retry in {seconds} s",
        }
        await JSONResponse(body, status_code=429, headers={"retry-after": str(seconds)})(scope, receive, send)

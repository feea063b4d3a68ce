"""The services the shim asks about callers: Clerk and the user service, each GET with a bearer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from flows.clients.http import no_cookies
from flows.core.errors import NotFound, RateLimited, Unavailable

_TOO_LONG_SECONDS = 60.0


class Neighbours:
    """One HTTP client a process. It has no default headers: what is meant for one service never reaches another.

    It keeps no cookies either: one that a service sets for one caller would be sent with the next caller's token.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(transport=transport, follow_redirects=False, cookies=no_cookies())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Neighbours]:
        """The client; closed at the end."""
        async with self._client:
            yield self

    async def get_json(
        self,
        service: str,
        url: str,
        *,
        bearer: str | None,
        timeout_seconds: float,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The JSON of a 2xx answer. Raises NotFound, RateLimited or Unavailable; redirects are not followed."""
        sent = {**(headers or {}), **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._client.get(url, headers=sent, timeout=timeout_seconds)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"{service} cannot be reached ({type(error).__name__})", service) from error
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NotFound(f"{service} answered 404")
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise RateLimited(f"{service} asked for quiet", _retry_after(response))
        if not response.is_success:
            raise Unavailable(f"{service} answered {response.status_code}", service)
        try:
            return response.json()
        except ValueError as error:
            raise Unavailable(f"{service} answered something that is not JSON", service) from error


def _retry_after(response: httpx.Response) -> float:
    given = response.headers.get("retry-after", "")
    return min(max(float(given), 1.0), _TOO_LONG_SECONDS) if given.isdecimal() else _TOO_LONG_SECONDS

"""An httpx transport over aiohttp's connections, for very many calls: several times the rate of httpx's own.

It tells the truth about broken connections: it could not connect only where nothing was sent, and whatever breaks later
may have been done. A caller who mixed the two up would send again what is queued already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx

from flows.clients import tls

# Before these nothing was sent: the connection was refused, or could not be made in time.
_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_KEPT_SECONDS = 15.0

RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]


class ManyCalls(httpx.AsyncBaseTransport):
    """A transport with at most `connections` connections, without cookies and redirects. Answers are read whole.

    `through_proxy`: the environment's proxy settings count, as they do for httpx's own transport.
    """

    def __init__(self, connections: int, *, through_proxy: bool = False) -> None:
        self._connections = connections
        # Read once: aiohttp would read them for every call, and ~/.netrc as well.
        self._proxies = getproxies() if through_proxy else {}
        self._proxy_of: dict[tuple[str, str], str | None] = {}
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises ConnectError only where nothing was sent; ReadTimeout and ReadError for what went wrong later."""
        status, headers, content = await self.exchange(
            request.method,
            str(request.url),
            request.headers,
            await request.aread() or None,
            request.extensions.get("timeout", {}),
        )
        return httpx.Response(status, headers=list(headers), content=content, request=request)

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limits: Mapping[str, float | None]
    ) -> tuple[int, RawHeaders, bytes]:
        """Status, headers and body of the answer, without making httpx's objects.

        `limits` are seconds, named as httpx names them: pool, connect, read. Raises what `handle_async_request` does.
        """
        try:
            async with self._opened().request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=self._proxy(httpx.URL(url)) if self._proxies else None,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=limits.get("pool"),
                    sock_connect=limits.get("connect"),
                    sock_read=limits.get("read"),
                ),
            ) as answer:
                return answer.status, answer.raw_headers, await answer.read()
        except _NEVER_CONNECTED as error:
            raise httpx.ConnectError(_reason(error)) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(_reason(error)) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(_reason(error)) from error

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _proxy(self, url: httpx.URL) -> str | None:
        asked = url.scheme, url.host
        if asked not in self._proxy_of:
            # Kept: whether a host goes past the proxy is looked up in all of the environment, 50 µs a call.
            bypassed = proxy_bypass(url.host)
            self._proxy_of[asked] = None if bypassed else self._proxies.get(url.scheme) or self._proxies.get("all")
        return self._proxy_of[asked]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, ssl=tls.trusted(), keepalive_timeout=_KEPT_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def _reason(error: BaseException) -> str:
    # aiohttp's own texts name host and port twice and the arguments of the call.
    return type(error).__name__

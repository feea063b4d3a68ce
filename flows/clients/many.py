"""An httpx transport over aiohttp's connections, for very many calls: several times the rate of httpx's own.

It tells the truth about broken connections: it could not connect only where nothing was sent, and whatever breaks later
may have been done. A caller who mixed the two up would send again what is queued already.
"""

from __future__ import annotations

import aiohttp
import httpx

# Before these nothing was sent: the connection was refused, or could not be made in time.
_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_KEPT_SECONDS = 15.0


class ManyCalls(httpx.AsyncBaseTransport):
    """A transport with at most `connections` connections, without cookies and redirects. Answers are read whole."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises ConnectError only where nothing was sent; ReadTimeout and ReadError for what went wrong later."""
        limits = request.extensions.get("timeout", {})
        try:
            async with self._opened().request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=limits.get("pool"),
                    sock_connect=limits.get("connect"),
                    sock_read=limits.get("read"),
                ),
            ) as answer:
                content = await answer.read()
        except _NEVER_CONNECTED as error:
            raise httpx.ConnectError(_reason(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(_reason(error), request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(_reason(error), request=request) from error
        return httpx.Response(answer.status, headers=list(answer.raw_headers), content=content, request=request)

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, ssl=httpx.create_ssl_context(), keepalive_timeout=_KEPT_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def _reason(error: BaseException) -> str:
    # aiohttp's own texts name host and port twice and the arguments of the call.
    return type(error).__name__

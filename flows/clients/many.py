"""An httpx transport over aiohttp's connections, for very many calls: several times the rate of httpx's own.

What it adds to the library's is the truth about broken connections. The library calls every one of them a connection
that could not be made; a caller who believes that sends again what may have been done already.
"""

from __future__ import annotations

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

# Before these nothing was sent: the connection was refused, or could not be made in time.
_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class ManyCalls(AiohttpTransport):
    """A transport with at most `connections` connections, without cookies and redirects."""

    def __init__(self, connections: int) -> None:
        super().__init__(
            client=lambda: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=connections, ssl=self.ssl_context, keepalive_timeout=15),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.ConnectError only where nothing was sent, and httpx.ReadError for what broke later."""
        try:
            response = await super().handle_async_request(request)
            # Read here, so that what breaks in the middle of an answer is told apart as well.
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        except httpx.TransportError as error:
            cause = error.__cause__
            if isinstance(cause, _NEVER_CONNECTED):
                raise httpx.ConnectError(_reason(cause), request=request) from error
            if isinstance(error, httpx.TimeoutException) and isinstance(cause, TimeoutError):
                raise httpx.ReadTimeout(_reason(cause), request=request) from error
            raise httpx.ReadError(_reason(cause or error), request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(_reason(error), request=request) from error
        return response


def _reason(error: BaseException) -> str:
    # aiohttp's own texts name host and port twice and the arguments of the call.
    return type(error).__name__

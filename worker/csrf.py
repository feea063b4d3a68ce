"""Whether Prefect's server wants a token with every change."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectException

# Prefect's client tries again for minutes what hangs, and until this has been answered no run is begun.
_PATIENCE_SECONDS = 5.0


async def wants_tokens(client: PrefectClient, patience_seconds: float = _PATIENCE_SECONDS) -> bool:
    """What the server says; True where there is no answer, or none that can be read, for then each run has to ask.

    A client asks before its first change. The worker's own makes none for a while: it talks over a websocket.
    """
    asked: Any = client._client  # noqa: SLF001
    with suppress(httpx.HTTPError, PrefectException, ValueError, TimeoutError):
        async with asyncio.timeout(patience_seconds):
            await asked._add_csrf_headers(asked.build_request("POST", "/"))  # noqa: SLF001
    return bool(asked.enable_csrf_support)

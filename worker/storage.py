"""Whether Prefect's server has a storage for the results of runs that name none."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import PrefectException

_PATIENCE_SECONDS = 5.0


async def has_default(client: PrefectClient, patience_seconds: float = _PATIENCE_SECONDS) -> bool:
    """What the server says; True where there is no answer, or none that can be read, for then each run has to ask."""
    with suppress(httpx.HTTPError, PrefectException, ValueError, TimeoutError):
        async with asyncio.timeout(patience_seconds):
            found = await client.read_server_default_result_storage()
            return found.default_result_storage_block_id is not None
    return True

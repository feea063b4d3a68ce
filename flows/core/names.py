"""What runs are called in Prefect, written beside their work.

Prefect's own way (`flow_run_name`) asks the server before a flow's first line, also for a run that is called so
already: most are, by the dispatcher.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectException

_PATIENCE_SECONDS = 5.0

logger = logging.getLogger(__name__)


@asynccontextmanager
async def named(run: FlowRun, name: str) -> AsyncIterator[None]:
    """Gives the run its name while the block works. A block that ends at once is held up until it has it, or 5 s."""
    if run.name == name:
        yield
        return
    naming = asyncio.create_task(_rename(run, name), name="name the run")
    try:
        yield
        await asyncio.wait({naming}, timeout=_PATIENCE_SECONDS)
    finally:
        naming.cancel()


async def _rename(run: FlowRun, name: str) -> None:
    try:
        async with get_client() as client:
            await client.set_flow_run_name(flow_run_id=run.id, name=name)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("Flow run '%s' keeps that name instead of '%s': %s", run.name, name, type(error).__name__)
    else:
        run.name = name

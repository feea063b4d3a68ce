"""Registers the deployments again with a Prefect that has lost them all: a wiped database must not need a person."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

from flows.core.redaction import redact

# A deploy of somebody else's may be under way.
_PATIENCE_SECONDS = 10.0
_LONGEST_SECONDS = 120.0

logger = logging.getLogger(__name__)


class Redeployment:
    """Runs `python -m deployments apply`, as an engineer would, when every deployment has been gone for a while."""

    def __init__(self) -> None:
        self._gone_since: float | None = None

    async def look(self, *, deployed: bool, known_before: bool) -> None:
        """Told at each look whether Prefect has any deployment of ours, and whether it ever had."""
        if deployed or not known_before:
            self._gone_since = None
            return
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
        if now - self._gone_since < _PATIENCE_SECONDS:
            return
        logger.warning("Prefect has lost every deployment: they are registered again")
        await self._apply()
        self._gone_since = None

    async def _apply(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deployments",
            "apply",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                output, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        told = redact(output.decode(errors="replace").strip(), limit=2000)
        level = logging.ERROR if process.returncode else logging.INFO
        logger.log(level, "`deployments apply` ended with %s: %s", process.returncode, told)

"""What goes on beside the answers: loops that must go on whatever happens in them, and errands that may fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from flows.core.errors import SchedulerError

MOST_ERRANDS = 200

logger = logging.getLogger(__name__)


class Troubles:
    """Logs a trouble when it begins, when it changes and when it is over."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._current: dict[str, str] = {}

    @asynccontextmanager
    async def noted(self, what: str) -> AsyncIterator[None]:
        """Logs what goes wrong inside and goes on after it."""
        try:
            yield
        except SchedulerError as error:
            if self._current.get(what) != str(error):
                self._logger.warning("%s: %s", what, error)
            self._current[what] = str(error)
        except Exception:
            # A mistake of ours in one turn of a loop must not end the loop.
            self._logger.exception("%s failed", what)
            self._current[what] = "failed"
        else:
            if self._current.pop(what, None):
                self._logger.info("%s works again", what)


class Errands:
    """Calls of neighbours that an answer does not wait for, each tried once.

    Only for what a sweep does again anyway: a failure is logged and forgotten, and so is what comes while too much is
    under way.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self, what: str, errand: Coroutine[Any, Any, None]) -> None:
        """Begins it and returns at once."""
        if len(self._under_way) >= MOST_ERRANDS:
            errand.close()
            logger.warning("%s is left to the sweep: too much is under way", what)
            return
        task = asyncio.create_task(_tried(what, errand), name=what)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settled(self, timeout_seconds: float | None = None) -> None:
        """Returns when none is under way; those that take longer than the time-out are given up."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=timeout_seconds)
            for task in late:
                task.cancel()


async def _tried(what: str, errand: Coroutine[Any, Any, None]) -> None:
    try:
        await errand
    except SchedulerError as error:
        logger.warning("%s: %s", what, error)
    except Exception:
        logger.exception("%s failed", what)

"""Loops that must go on whatever happens in them, without filling the log while a neighbour is away."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flows.core.errors import SchedulerError


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

"""Answers kept for a while; callers who ask for the same one at the same time share a question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

V = TypeVar("V")
_MOST_ENTRIES = 10_000


class Cached(Generic[V]):
    """Values by key. `seconds` tells how long a value is good for; an error is never kept."""

    def __init__(self, seconds: Callable[[V], float]) -> None:
        self._seconds = seconds
        self._kept: dict[str, tuple[float, V]] = {}
        self._asking: dict[str, asyncio.Task[V]] = {}

    async def get(self, key: str, ask: Callable[[], Awaitable[V]]) -> V:
        """The kept value of `key`, or what `ask` answers."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(key, ask))
            self._asking[key] = task
        # Shielded: the others still wait for it when one of them goes away.
        return await asyncio.shield(task)

    async def _ask(self, key: str, ask: Callable[[], Awaitable[V]]) -> V:
        try:
            value = await ask()
        finally:
            del self._asking[key]
        if len(self._kept) >= _MOST_ENTRIES:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + self._seconds(value), value)
        return value

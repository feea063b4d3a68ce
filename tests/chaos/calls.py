"""What the recorder has noted: the outbound calls, by job and by step."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Self

import httpx

Call = dict[str, Any]

_FRESH_SECONDS = 0.5


class Calls:
    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)
        self._calls: list[Call] = []
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def until_up(self) -> None:
        for _ in range(300):
            try:
                (await self._http.get("/health")).raise_for_status()
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
            else:
                return
        raise AssertionError("the recorder does not answer")

    async def all(self) -> list[Call]:
        """Every call so far, in order of arrival."""
        asked_at = time.monotonic()
        async with self._reading:
            # Many ask at once: what was read a moment ago does for all of them.
            if self._read_at < asked_at - _FRESH_SECONDS:
                read_at = time.monotonic()
                self._calls = (await self._http.get("/calls")).raise_for_status().json()
                self._read_at = read_at
        return self._calls

    async def of(self, job: str) -> list[Call]:
        return [call for call in await self.all() if call["job"] == job]

    async def repeated_steps(self, root: str) -> list[int]:
        """Steps of a line of jobs that were received more than once."""
        steps = Counter(call["step"] for call in await self.all() if call["kind"] == "step" and call["root"] == root)
        return sorted(step for step, count in steps.items() if count > 1)

    async def pages_repeated_after_an_answer(self) -> list[str]:
        """Pages that were sent again though an earlier call with them had been answered."""
        answered: dict[str, float] = {}
        repeated = []
        for call in await self.all():
            if call["kind"] != "crawl":
                continue
            for page in call["ids"]:
                if page in answered and call["at"] > answered[page]:
                    repeated.append(page)
                if call["answered_at"] is not None:
                    answered[page] = min(call["answered_at"], answered.get(page, call["answered_at"]))
        return repeated

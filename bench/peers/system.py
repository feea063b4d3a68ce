"""What a system must let itself be asked, so that all are measured by the same code."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
import httpx

from sandbox.stack import Stack


@dataclass(frozen=True)
class Triggered:
    """A trigger's answer: when it was asked for (time.time()), how long it took, and where the job notes its time."""

    at: float
    seconds: float
    file: Path


class System(ABC):
    """`running()` is timed: it returns when a job can be triggered and would be run. `prepare()` is not."""

    title: str
    has_pages = True

    def __init__(self) -> None:
        self.resources = AsyncExitStack()
        """What outlives a single `running()`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.resources.aclose()

    @abstractmethod
    async def prepare(self) -> None:
        """What is done once on a machine: installing, making tables."""

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]: ...

    @abstractmethod
    async def trigger(self) -> Triggered: ...

    @abstractmethod
    def pids(self) -> Iterable[int]:
        """The processes that are its own; the database's are not."""

    @abstractmethod
    def database_pids(self) -> Iterable[int]: ...

    async def fill(self, rows: int) -> None:
        """Makes so many ended runs out of one that has ended."""
        raise NotImplementedError

    async def newest(self) -> int:
        """Asks for the 50 newest runs; how many came."""
        raise NotImplementedError


async def asked(http: httpx.AsyncClient, url: str, body: Any, file: Path) -> tuple[Triggered, Any]:
    """A trigger over HTTP, with its answer."""
    at, began = time.time(), time.perf_counter()
    answer = await http.post(url, json=body)
    seconds = time.perf_counter() - began
    return Triggered(at, seconds, file), answer.raise_for_status().json()


async def owner_of(stack: Stack, database: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(f"{stack.wiring.owner_url}/{database}", command_timeout=1800)


def client(url: str, **more: Any) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False, **more)

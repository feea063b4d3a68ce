"""Hears of cancels of the runs in hand: at once by Prefect's event stream, and by asking every few seconds.

Prefect's observer gives up for good when its server is away for a while; here it is made anew once the server is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Self
from uuid import UUID

import httpx
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

_ASK_SECONDS = 5.0


class CancelWatch:
    """Calls `on_cancel` once for each watched run whose state becomes Cancelling."""

    def __init__(
        self,
        client: PrefectClient,
        on_cancel: Callable[[UUID], None],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.heard: set[UUID] = set()
        self._client = client
        self._on_cancel = on_cancel
        self._logger = logger
        self._watched: set[UUID] = set()
        self._observer: FlowRunCancellingObserver | None = None
        self._asking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._observe()
        self._asking = asyncio.create_task(self._ask_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking
        await self._stop_observing()

    def add(self, flow_run_id: UUID) -> None:
        self._watched.add(flow_run_id)
        if self._observer is not None:
            self._observer.add_in_flight_flow_run_id(flow_run_id)

    def remove(self, flow_run_id: UUID) -> None:
        self._watched.discard(flow_run_id)
        self.heard.discard(flow_run_id)
        if self._observer is not None:
            self._observer.remove_in_flight_flow_run_id(flow_run_id)

    def _hear(self, flow_run_id: UUID) -> None:
        if flow_run_id in self._watched and flow_run_id not in self.heard:
            self.heard.add(flow_run_id)
            self._on_cancel(flow_run_id)

    async def _observe(self) -> None:
        observer = FlowRunCancellingObserver(on_cancelling=self._hear)
        await observer.__aenter__()  # type: ignore[no-untyped-call]
        for flow_run_id in self._watched:
            observer.add_in_flight_flow_run_id(flow_run_id)
        self._observer = observer

    async def _stop_observing(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            if (asking := observer._polling_task) is not None:  # noqa: SLF001
                # It would take its own cancellation for a failure.
                asking.remove_done_callback(observer._handle_polling_task_done)  # noqa: SLF001
            await observer.__aexit__(None, None, None)

    def _is_deaf(self) -> bool:
        """Whether the event stream is gone and the observer has fallen back to its own, mortal, asking."""
        task = self._observer._consumer_task if self._observer is not None else None  # noqa: SLF001
        return task is None or task.done()

    async def _ask_forever(self) -> None:
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            try:
                await self._ask()
                if self._is_deaf():
                    await self._stop_observing()
                    await self._observe()
            except (httpx.HTTPError, OSError, RuntimeError) as error:
                self._logger.warning("Prefect cannot be asked for cancels: %s", error)

    async def _ask(self) -> None:
        if not (asked := self._watched - self.heard):
            return
        found = await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=list(asked)),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
            )
        )
        for flow_run in found:
            self._hear(flow_run.id)

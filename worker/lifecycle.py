"""The worker's loops, from its start to its end: poll when woken or when it is time, report to Prefect, then drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import httpx
from prefect.settings import get_current_settings

from worker.drain import drain
from worker.health import HealthFile, HealthPort
from worker.wake import WakeSocket

if TYPE_CHECKING:
    from worker.forkworker import ForkWorker

# As Prefect's own health check has it.
_POLLS_MISSED = 30
_LONGEST_PAUSE_SECONDS = 5.0


class Lifecycle:
    def __init__(self, worker: ForkWorker) -> None:
        self.in_hand: dict[UUID, anyio.CancelScope] = {}
        """Runs from the moment they are picked up until nothing of them is left, and how to give up starting one."""
        self.is_ending = False
        self._worker = worker
        self._due = asyncio.Event()
        self._asked_to_end = asyncio.Event()
        self._hurry = asyncio.Event()
        self._polled_at = time.monotonic()
        self._interval = get_current_settings().worker.query_seconds

    def poll_now(self) -> None:
        """Polls at once, or once more after the poll that is going on."""
        self._due.set()

    def end(self) -> None:
        """What SIGTERM does; a second one stops the runs at once."""
        (self._hurry if self._asked_to_end.is_set() else self._asked_to_end).set()

    def report(self) -> dict[str, Any]:
        """For probes."""
        silent = time.monotonic() - self._polled_at
        forks = self._worker.servers.pid is not None
        return {
            "healthy": silent < self._interval * _POLLS_MISSED and (forks or not self.in_hand) and not self.is_ending,
            "name": self._worker.name,
            "pool": self._worker._work_pool_name,  # noqa: SLF001  # BaseWorker has no public name for it
            "secondsSincePoll": round(silent, 1),
            "runsInHand": len(self.in_hand),
            "forkServer": self._worker.servers.pid,
            "ending": self.is_ending,
        }

    async def run(self, *, once: bool, printer: Callable[..., None]) -> None:
        """Returns when the worker has been asked to end (or, once, has polled) and no run is in hand any more."""
        async with AsyncExitStack() as stack:
            self._listen(stack)
            file = await self._open_health(stack)
            loops = [
                asyncio.create_task(self._again_and_again(work, pause))
                for work, pause in (
                    (self._prepare_server, None),
                    (self._worker._sync_and_initialize, self._worker.heartbeat_interval_seconds),  # noqa: SLF001
                )
            ]
            loops += [
                asyncio.create_task(self._poll_forever(file)),
                asyncio.create_task(self._worker.strays.sweep_forever()),
            ]
            printer(f"Worker {self._worker.name!r} started!")
            if once:
                await self._worker.get_and_submit_flow_runs()
                while self.in_hand:  # noqa: ASYNC110  # each ends by itself
                    await asyncio.sleep(0.1)
                self.end()
            await self._asked_to_end.wait()
            self.is_ending = True
            await self._drain()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _drain(self) -> None:
        worker = self._worker
        for flow_run_id, scope in self.in_hand.items():
            if not worker.attempts.has_begun(flow_run_id):
                scope.cancel()
        await drain(
            worker.attempts,
            self.in_hand.keys,
            seconds=worker.settings.drain_seconds,
            hurry=self._hurry,
            logger=worker._logger,  # noqa: SLF001
        )

    def _listen(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Also where it was ignored, as for whatever a shell starts with `&` or nohup.
            loop.add_signal_handler(number, self.end)
            stack.callback(loop.remove_signal_handler, number)
        if (path := self._worker.settings.wake_socket) is not None:
            wake = WakeSocket(path, self.poll_now)
            wake.open()
            stack.callback(wake.close)

    async def _open_health(self, stack: AsyncExitStack) -> HealthFile | None:
        settings = self._worker.settings
        if settings.health_port is not None:
            port = HealthPort(settings.health_port, self.report)
            self._worker._logger.info("Health is answered at port %s", await port.open())  # noqa: SLF001
            stack.callback(port.close)
        if settings.health_file is None:
            return None
        file = HealthFile(settings.health_file)
        stack.callback(file.remove)
        return file

    async def _poll_forever(self, file: HealthFile | None) -> None:
        async def poll() -> None:
            self._due.clear()
            await self._worker.get_and_submit_flow_runs()
            self._polled_at = time.monotonic()
            if file is not None and self.report()["healthy"]:
                file.touch()

        async def pause() -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._interval)

        await self._repeat(poll, pause)

    async def _prepare_server(self) -> None:
        await self._worker.preload_from_deployments()
        await self._worker.servers.ready()

    async def _again_and_again(self, work: Callable[[], Awaitable[Any]], seconds: float | None) -> None:
        """Every so often, or (None) until it has succeeded once."""
        if seconds is not None:
            await asyncio.sleep(seconds)
        await self._repeat(work, None if seconds is None else lambda: asyncio.sleep(seconds))

    async def _repeat(self, work: Callable[[], Awaitable[Any]], pause: Callable[[], Awaitable[Any]] | None) -> None:
        """Goes on through every failure, ever more slowly: giving up while Prefect is away would be for good."""
        failures = 0
        while True:
            try:
                await work()
            except Exception as error:  # nothing that a poll meets may end the runs in hand
                failures += 1
                # Where nobody answers, the error says all there is; of anything else the place is told once.
                place = failures == 1 and not isinstance(error, httpx.TransportError)
                self._worker._logger.warning("%r; trying again", error, exc_info=place)  # noqa: SLF001
                await asyncio.sleep(min(2.0 ** (failures - 1), _LONGEST_PAUSE_SECONDS))
                continue
            failures = 0
            if pause is None:
                return
            await pause()

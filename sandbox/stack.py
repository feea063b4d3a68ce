"""The stack: every part of the sandbox as one thing to start, use and stop, for `make up` and the tests alike.

async with Stack(folder, ports="free") as stack:
    stack.wiring.url("shim"), stack.wiring.database_url, stack.token()
    await stack.kill("worker"); await stack.start("worker")
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import asyncpg
import httpx

from deployments.reach import PrefectUnreachable
from sandbox.control import ControlServer
from sandbox.describe import describe
from sandbox.errors import SandboxError
from sandbox.parts import STANDINS, Step, build_parts, now
from sandbox.ports import refuse_taken
from sandbox.process import Orphans, become_subreaper, end_all, marked
from sandbox.running import RunningPart
from sandbox.state import StateFolder
from sandbox.steps import build_steps
from sandbox.tokens import mint
from sandbox.wiring import Wiring, make_wiring

ALL_PARTS = ("postgres", *STANDINS, "postgrest", "gateway", "prefect", "worker", "shim")
DATABASE_PARTS = ("postgres", "postgrest", "gateway")

_MINIMUM_FREE_BYTES = 500_000_000
# The worker first, while its flows can still say goodbye; the database last, when nobody needs it any more.
_STOP_ORDER = (("worker",), ("shim", "prefect", "postgrest", "gateway", *STANDINS), ("postgres",))


class Reporter:
    """Hears what the stack does. This one says nothing; sandbox/terminal.py has the one that prints."""

    def ready(self, name: str, where: str, seconds: float | None) -> None: ...

    def waiting(self, names: Iterable[str]) -> None: ...

    def stopping(self) -> None: ...

    def stopped(self, seconds: float) -> None: ...


class Stack:
    def __init__(
        self,
        folder: Path,
        *,
        ports: Literal["fixed", "free"] = "fixed",
        parts: Iterable[str] = ALL_PARTS,
        presets: Mapping[str, str] | None = None,
        schedules: bool = False,
        worker_type: str = "forkserver",
        settings: Mapping[str, str] | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.state = StateFolder(folder)
        self.wiring: Wiring
        self.asked_to_stop = asyncio.Event()
        self.died: asyncio.Queue[str] = asyncio.Queue()
        self._wanted = frozenset(parts)
        self._make_wiring = partial(
            make_wiring,
            self.state,
            ports=ports,
            presets=presets or {},
            schedules=schedules,
            settings=settings or {},
            worker_type=worker_type,
        )
        self._reporter = reporter or Reporter()
        self._running: dict[str, RunningPart] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._orphans = Orphans()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self.state.create()
        except OSError as error:
            raise SandboxError(
                f"The state folder {self.state.path} cannot be used ({error.strerror}):"
                " name another with SANDBOX_STATE."
            ) from error
        if not self.state.take_lock():
            raise SandboxError(_already_running(self.state))
        try:
            await self._start_everything()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def part_names(self) -> list[str]:
        return list(self._running)

    def is_running(self, name: str) -> bool:
        return self._part(name).is_running

    def pid(self, name: str) -> int | None:
        process = self._part(name).process
        return process.pid if process is not None else None

    async def start(self, name: str) -> float:
        """Start a part that was stopped; the seconds until it was ready."""
        seconds = await self._part(name).start()
        self._write_state()
        return seconds

    async def stop(self, name: str) -> None:
        self._remember_children()
        await self._part(name).stop()
        self._orphans.reap()
        self._write_state()

    async def kill(self, name: str, *, only: bool = False) -> None:
        """SIGKILL for the part and all it has started, or (`only`) for its own process alone."""
        self._remember_children()
        await self._part(name).kill(only=only)
        self._orphans.reap()
        self._write_state()

    def token(self, *, user: bool = False, expires_seconds: int = 3600) -> str:
        """A session token of the sandbox's Clerk: the admin's, or the plain user's."""
        return mint(self.state, self.wiring.clerk_issuer, user=user, expires_seconds=expires_seconds)

    async def aclose(self) -> None:
        """Stop everything, in order; whatever carries our marker after that is killed."""
        began, has_begun = time.monotonic(), any(part.process is not None for part in self._running.values())
        if has_begun:
            self._reporter.stopping()
        self._remember_children()
        for names in _STOP_ORDER:
            await asyncio.gather(*(self._running[name].stop() for name in names if name in self._running))
        if left := marked(self.state.marker):
            await end_all(left, grace_seconds=1)
        self._orphans.reap()
        await self._resources.aclose()
        self.state.remove_state()
        self.state.release_lock()
        if has_begun:
            self._reporter.stopped(time.monotonic() - began)

    async def _start_everything(self) -> None:
        _check_disk(self.state.path)
        if left := marked(self.state.marker):
            await end_all(left)
        self.state.empty_temporary()
        become_subreaper()
        self.wiring = self._make_wiring()
        http = httpx.AsyncClient(trust_env=False, timeout=5)
        await self._resources.enter_async_context(http)
        nodes = self._plan(http)
        refuse_taken(self.wiring.ports, self._running)
        await self._resources.enter_async_context(ControlServer(self.state.control_socket, self._answer))
        reaper = asyncio.create_task(self._reap_orphans())
        self._resources.callback(reaper.cancel)
        self._write_state()
        try:
            async with asyncio.TaskGroup() as group:
                begun = [group.create_task(self._begin(name, *node)) for name, node in nodes.items()]
                death = group.create_task(self._raise_death())
                await asyncio.wait(begun)
                death.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        self._reporter.waiting(())

    def _plan(self, http: httpx.AsyncClient) -> dict[str, tuple[tuple[str, ...], Callable[[], Any]]]:
        """What is to be started or done: name to what it waits for, and how it begins."""
        started = self._wanted - self.wiring.replaced.keys()
        environment = self.wiring.base_environment()
        for name, part in build_parts(self.wiring, http).items():
            if name in started:
                self._running[name] = RunningPart(
                    part,
                    log=self.state.log(name),
                    sandbox_id=self.state.marker,
                    environment=environment,
                    on_death=self._on_death,
                    hide=self._hide,
                )
            elif name in self._wanted:
                self._reporter.ready(name, f"{self.wiring.url(name)} (given by {self.wiring.replaced[name]})", None)
        steps = build_steps(self.wiring, wanted=self._wanted, started=started)
        self._ready = {name: asyncio.Event() for name in (*self._running, *steps)}
        return {
            **{name: (running.part.needs, running.start) for name, running in self._running.items()},
            **{name: (step.needs, _timed(step)) for name, step in steps.items()},
        }

    async def _begin(self, name: str, needs: tuple[str, ...], begin: Callable[[], Any]) -> None:
        for need in needs:
            if need in self._ready:
                await self._ready[need].wait()
        outcome = await begin()
        self._ready[name].set()
        if name in self._running:
            self._write_state()
            self._reporter.ready(name, self.wiring.url(name), outcome)
        else:
            self._reporter.ready(name, *outcome)
        self._reporter.waiting(waiting for waiting, event in self._ready.items() if not event.is_set())

    async def _raise_death(self) -> None:
        raise SandboxError(await self.died.get())

    def _part(self, name: str) -> RunningPart:
        if name in self._running:
            return self._running[name]
        if variable := self.wiring.replaced.get(name):
            raise SandboxError(f"{name} is not ours: {variable} names another.")
        raise SandboxError(f"There is no part {name!r}; the parts are {', '.join(self._running)}.")

    def _on_death(self, running: RunningPart) -> None:
        process = running.process
        status = process.status if process is not None else "gone"
        self._write_state()
        self.died.put_nowait(f"{running.part.name} died ({status}); its log says:\n{running.log_tail()}")

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a command sent through the control socket comes to."""
        match request:
            case {"do": "start", "part": str(name)}:
                return {"message": f"{name} is ready after {await self.start(name):.1f} s"}
            case {"do": "stop", "part": str(name)}:
                await self.stop(name)
                return {"message": f"{name} is stopped"}
            case {"do": "kill", "part": str(name)}:
                await self.kill(name, only=bool(request.get("only")))
                return {"message": f"{name} is killed"}
            case {"do": "environment"}:
                return {"environment": self.wiring.shim_environment() | {"DATABASE_URL": self.wiring.database_url}}
            case {"do": "down"}:
                self.asked_to_stop.set()
                return {"message": "stopping"}
            case _:
                raise SandboxError("The supervisor does not know that command.")

    async def _reap_orphans(self) -> None:
        while True:
            self._remember_children()
            self._orphans.reap()
            await asyncio.sleep(1)

    def _remember_children(self) -> None:
        self._orphans.remember(part.process.pid for part in self._running.values() if part.process is not None)

    def _hide(self, text: str) -> str:
        for secret in (*asdict(self.wiring.secrets).values(), self.wiring.service_key):
            text = text.replace(secret, "***")
        return text

    def _write_state(self) -> None:
        self.state.write_state(describe(self.wiring, self._running, now()))


def _timed(step: Step) -> Callable[[], Any]:
    async def run() -> tuple[str, float]:
        began = time.monotonic()
        try:
            return await step.run(), time.monotonic() - began
        except PrefectUnreachable as error:
            raise SandboxError(str(error)) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError) as error:
            raise SandboxError(f"{step.name}: {str(error) or type(error).__name__}") from error

    return run


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The sentence for the person, where one of the errors is one; the others came of it."""
    sentences, others = errors.split(SandboxError)
    error: BaseException = sentences or others or errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _check_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _MINIMUM_FREE_BYTES:
        raise SandboxError(
            f"Only {free // 1_000_000} MB are free at {folder}; the sandbox needs 500 MB:"
            " make room there, or name another folder with SANDBOX_STATE."
        )


def _already_running(state: StateFolder) -> str:
    known = state.read_state() or {}
    pid = known.get("supervisor", {}).get("pid")
    return f"The sandbox in {state.path} runs already{f' (pid {pid})' if pid else ''}; `make down` stops it."

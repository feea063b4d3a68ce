"""The worker's side of the fork server: one is ready with the code and environment of now, and is replaced in time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.clean import changed_for_modules
from worker.requests import ForkRequest, receive, send
from worker.stamps import Stamp, stamp

_START_SECONDS = 60.0
_FORK_SECONDS = 30.0


class ForkServerDied(Exception):
    """The fork server ended before it had answered."""


class ForkRefused(Exception):
    """The kernel did not let the fork server fork: no memory, or too many processes."""


@dataclass(frozen=True)
class Forked:
    """A new run: its process id, and a descriptor that can only mean this process."""

    pid: int
    descriptor: int
    version: str | None = None
    """The flow's, where the fork server knows it; the run does not report it then."""


class ForkServer:
    """One fork server process, and the socket to it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.forks = 0
        self.environment = dict(environment)
        self.packages = _stamps_of_packages()
        self.files: dict[str, Stamp] = {}
        """The flows' code, as it was imported."""
        self.problems: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        """Those of the flows, by their entrypoints."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=self.environment,
                # Prefect would read settings files of the folder it is started in.
                cwd="/",
                start_new_session=True,
            )
        self._connection = ours
        self._connection.setblocking(False)
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Forked]] = {}
        self._first: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(ours, self._on_message)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._connection.fileno() >= 0

    @property
    def is_forking(self) -> bool:
        return bool(self._waiting)

    async def start(self, preload: Iterable[str]) -> str | None:
        """Returns when it is ready; the name of a module that must not be imported before a fork, if there is one."""
        send(self._connection, {"preload": list(preload)})
        try:
            answer = await asyncio.wait_for(self._first, _START_SECONDS)
        except BaseException:
            self.close()
            raise
        if "refused" in answer:
            self.close()
            return str(answer["refused"])
        self.files = {path: (changed, size) for path, (changed, size) in answer["files"].items()}
        self.problems = answer["problems"]
        self.versions = answer["versions"]
        return None

    async def fork(self, request: ForkRequest, stdout: int, stderr: int) -> Forked:
        """A child that becomes the request once it is told to begin. Raises ForkServerDied or ForkRefused.

        Whoever stops waiting for the answer has started nothing: the child that nobody tells to begin ends.
        """
        number = next(self._numbers)
        answer: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        # A run under another environment imports the flow anew, which may make another version of it.
        version = self.versions.get(request.entrypoint or "") if self._is_imported_for(request) else None
        payload = replace(request, reports_version=version is None).to_memory_file()
        waits, begin = os.pipe()
        try:
            send(self._connection, {"id": number}, [payload, stdout, stderr, waits])
            self.forks += 1
            forked = await asyncio.wait_for(answer, _FORK_SECONDS)
            os.write(begin, b"1")
        except (OSError, TimeoutError) as error:
            self.close()
            raise ForkServerDied(f"the fork server does not answer: {error!r}") from error
        else:
            return replace(forked, version=version)
        finally:
            self._waiting.pop(number, None)
            for descriptor in (payload, waits, begin):
                os.close(descriptor)

    def _is_imported_for(self, request: ForkRequest) -> bool:
        return not changed_for_modules(self.environment, request.environment)

    def close(self) -> None:
        """Lets it end. What it has forked goes on."""
        if not self.is_alive:
            return
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()
        died = ForkServerDied("the fork server ended")
        if not self._first.done():
            self._first.set_exception(died)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(died)
        self._process.kill()
        self._process.wait()

    def _on_message(self) -> None:
        try:
            received = receive(self._connection)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self.close()
            return
        message, descriptors = received
        if "id" not in message:
            self._first.set_result(message)
            return
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():
            for descriptor in descriptors:
                os.close(descriptor)
        elif "error" in message:
            answer.set_exception(ForkRefused(message["error"]))
        else:
            answer.set_result(Forked(message["pid"], descriptors[0]))


class ForkServers:
    """Has one fork server ready, with the code that is on disk now, and replaces it when it should be."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], most_forks: int) -> None:
        self.environment: dict[str, str] = {}
        """What runs will mostly have. A server that was started under another one is replaced."""
        self.preload: set[str] = set()
        self._logger = logger
        self._most_forks = most_forks
        self._refused: set[str] = set()
        self._current: ForkServer | None = None
        self._coming: ForkServer | None = None
        self._loaded: frozenset[str] = frozenset()
        self._lock = asyncio.Lock()
        self._replacing: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._current.pid if self._current is not None and self._current.is_alive else None

    @property
    def is_forking(self) -> bool:
        """Whether there may be a run already whose process id is still on its way here."""
        return self._current is not None and self._current.is_forking

    @property
    def pids(self) -> list[int]:
        """Every fork server that has not been waited for: the current one, and one that is being started."""
        return [server.pid for server in (self._current, self._coming) if server is not None and server.is_alive]

    async def fork(self, request: ForkRequest, stdout: int, stderr: int) -> Forked:
        """A child of a fork server that is up to date. One that dies under the request is replaced once."""
        for last in (False, True):
            server = await self.ready()
            try:
                return await server.fork(request, stdout, stderr)
            except ForkServerDied:
                if last:
                    raise
                self._logger.warning("The fork server died; starting another")
        raise AssertionError

    async def ready(self) -> ForkServer:
        """A server with the code and the environment of now; waits for one where there is none."""
        async with self._lock:
            reason = self._reason_to_replace(self._current)
            if reason is not None and self._replacing is not None:
                # What is on its way may be of now.
                await asyncio.wait([self._replacing])
                reason = self._reason_to_replace(self._current)
            server = self._current
            if server is None or reason is not None:
                if server is not None:
                    self._logger.info("Restarting the fork server: %s", reason)
                server = await self._replace()
            elif self._is_worn(server) and self._replacing is None:
                self._replacing = asyncio.create_task(self._replace_meanwhile())
            return server

    def close(self) -> None:
        if self._replacing is not None:
            self._replacing.cancel()
        for server in (self._current, self._coming):
            if server is not None:
                server.close()

    def _reason_to_replace(self, server: ForkServer | None) -> str | None:
        if server is None:
            return None
        if not server.is_alive:
            return "it died"
        if (
            server.environment != self.environment
            or server.packages != _stamps_of_packages()
            or any(stamp(path) != imported for path, imported in server.files.items())
        ):
            return "the code or the environment has changed"
        return None

    def _is_worn(self, server: ForkServer) -> bool:
        return server.forks >= self._most_forks or bool(self.preload - self._refused - self._loaded)

    async def _replace_meanwhile(self) -> None:
        """Starts a new server while the old one goes on forking."""
        try:
            await self._replace()
        except (ForkServerDied, TimeoutError) as error:
            self._logger.warning("No other fork server could be started: %r", error)
        finally:
            self._replacing = None

    async def _replace(self) -> ForkServer:
        old = self._current
        while True:
            wanted = sorted(self.preload - self._refused)
            server = self._coming = ForkServer(self.environment)
            refused = await server.start(wanted)
            if refused is None:
                break
            self._logger.warning("%s starts threads when it is imported: its runs import it themselves", refused)
            self._refused.add(refused)
        for module, problem in server.problems.items():
            self._logger.warning("%s cannot be imported: %s", module, problem)
        self._loaded = frozenset(wanted)
        self._current, self._coming = server, None
        self._logger.info("The fork server is ready with %s", ", ".join(wanted) or "Prefect alone")
        if old is not None:
            old.close()
        return server


def _stamps_of_packages() -> list[Stamp]:
    """Those of the folders that installed packages are in."""
    return [stamp(path) for path in sys.path if path.endswith("site-packages")]

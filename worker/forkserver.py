"""The fork server: a process with one thread and no event loop that has everything imported and only forks.

`python -m worker.forkserver <descriptor of its socket>`; the worker starts it. Each run is forked twice, so that its
parent dies at once and the kernel hands the run to the worker, which is a child subreaper: the worker waits for every
run itself, and a fork server that dies takes nothing with it. It ends when the worker's end of the socket is closed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from worker.requests import receive, send
from worker.stamps import noted_imports, stamp
from worker.stdio import replace_standard_streams

# What a run would import only in its course, besides what it needs to begin (1.1 s in all).
ALWAYS = (
    "encodings.idna",
    "prefect.events.worker",
    "prefect.logging.handlers",
    "prefect.events.related",
    "prefect.task_runners",
)


def main() -> None:
    replace_standard_streams()
    from worker import child, shortcuts  # noqa: PLC0415  # these import Prefect, whose logging keeps the streams

    connection = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C reaches the whole terminal, and an init may signal every process: both are the worker's to act on.
    # Blocked, not ignored: what is sent to a child before it has become a run waits until it can act on it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    received = receive(connection)
    if received is None:
        return
    ours = _preload(connection, received[0]["preload"])
    shortcuts.take_before_fork()
    gc.collect()
    # The collector would touch every object, and so copy every page, in each child.
    gc.freeze()
    descriptors = _serve(connection)
    if descriptors is not None:
        connection.detach()
        child.become_run(descriptors, ours)


def _preload(connection: socket.socket, modules: Iterable[str]) -> list[str]:
    """Imports everything; the names of the modules that are not a package's or Python's own, the flows' code."""
    began = time.monotonic()
    for name in ALWAYS:
        importlib.import_module(name)
    before = set(sys.modules)
    problems = {}
    with noted_imports() as noted:
        for name in modules:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001  # a flow that cannot be imported fails in its own run, and says so there
                problems[name] = f"{type(error).__name__}: {error}"
            if _threads() != 1:
                # A fork would copy the thread's locks without the thread.
                send(connection, {"refused": name, "why": f"{_threads() - 1} threads run after its import"})
                sys.exit(1)
    ours = [name for name in set(sys.modules) - before if _is_ours(name)]
    files = {str(Path(file).resolve()): noted.get(file) or stamp(file) for name in ours if (file := _file_of(name))}
    versions = dict(_versions(modules))
    facts = {"seconds": time.monotonic() - began, "files": files, "problems": problems, "versions": versions}
    send(connection, {"ready": os.getpid(), **facts})
    return ours


def _versions(modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The flows in these modules by their entrypoints, with their versions."""
    from prefect import Flow  # noqa: PLC0415  # imported by now, with the standard streams replaced

    for module in modules:
        for name, value in vars(sys.modules.get(module, object)).items():
            if issubclass(type(value), Flow) and isinstance(value.version, str):
                yield f"{module}.{name}", value.version


def _threads() -> int:
    return max(threading.active_count(), len(list(Path("/proc/self/task").iterdir())))


def _is_ours(name: str) -> bool:
    file = _file_of(name)
    return file is not None and "site-packages" not in file and not file.startswith(str(Path(os.__file__).parent))


def _file_of(name: str) -> str | None:
    file: Any = getattr(sys.modules[name], "__file__", None)
    return file if isinstance(file, str) else None


def _serve(connection: socket.socket) -> list[int] | None:
    """Forks on request. Returns the request's descriptors in each child, None in the server when the worker is gone."""
    while True:
        try:
            received = receive(connection)
        except ConnectionError:
            return None
        if received is None:
            return None
        message, descriptors = received
        try:
            pid = os.fork()
        except OSError as error:
            send(connection, {"id": message["id"], "error": f"fork: {error.strerror}"})
        else:
            if pid == 0:
                _fork_again(connection, message["id"])
                return descriptors
            os.waitpid(pid, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_again(connection: socket.socket, request_id: int) -> None:
    """Returns in the grandchild, the run. The child tells the worker who that is, and ends."""
    answer: dict[str, Any] = {"id": request_id}
    passed = []
    try:
        pid = os.fork()
        if pid == 0:
            return
        answer["pid"] = pid
        # Opened by its parent before anybody can have waited for it: it cannot mean another process.
        passed = [os.pidfd_open(pid)]
    except OSError as error:
        answer["error"] = f"fork: {error.strerror}"
    with contextlib.suppress(OSError):
        send(connection, answer, passed)
    os._exit(0)


if __name__ == "__main__":
    main()

"""Flows that behave, misbehave and die in every way a worker must cope with. They tell what they saw through files."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import flow, get_run_logger, runtime
from prefect._internal import control_listener
from prefect.context import FlowRunContext


def tell(folder: str, name: str, **facts: Any) -> None:
    path = Path(folder) / f"{name}.json"
    path.with_suffix(".part").write_text(json.dumps(facts))
    path.with_suffix(".part").rename(path)


_connect = control_listener.start


def _connect_late() -> None:
    """As where the worker has too much to do to see at once that a run can be told things; where asked for."""
    if "CONNECT_LATE" in os.environ:
        threading.Timer(3, _connect).start()
    else:
        _connect()


control_listener.start = _connect_late


def seen() -> dict[str, Any]:
    return {
        "at": time.time(),
        "run_count": runtime.flow_run.run_count,
        "pool": context.flow_run.work_pool_name if (context := FlowRunContext.get()) and context.flow_run else None,
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "random": random.random(),
        "secret": secrets.token_hex(8),
        "uuid": str(uuid4()),
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "files": [str(Path(f"/proc/self/fd/{number}").readlink()) for number in range(3)],
        "threads": [thread.name for thread in threading.enumerate()],
        "user": os.getuid(),
        "argv": sys.argv,
        "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "mask": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }


@flow
def succeed(folder: str, name: str = "seen") -> None:
    get_run_logger().info("hello from the log")
    print("hello from stdout")
    tell(folder, name, **seen())


@flow(version=os.environ.get("OWN_VERSION", "usual"))
def tell_version(folder: str) -> None:
    tell(folder, "seen")


@flow
async def succeed_async(folder: str) -> None:
    await asyncio.sleep(0)
    tell(folder, "seen", **seen())


@flow
def fail(folder: str) -> None:
    raise ValueError("this flow always fails")


@flow
def leave(folder: str) -> None:
    sys.exit(4)


@flow
def leave_hard(folder: str) -> None:
    print("these are the last words", file=sys.stderr, flush=True)
    os._exit(3)


def on_crash(flow: Any, flow_run: Any, state: Any) -> None:
    folder = flow_run.parameters["folder"]
    tell(folder, "hook", state=state.name, pid=os.getpid(), parent=os.getppid())


@flow(on_crashed=[on_crash])
def die_by(folder: str, number: int) -> None:
    tell(folder, "dying", at=time.time())
    os.kill(os.getpid(), number)
    time.sleep(60)


@flow
def eat_memory(folder: str, megabytes: int) -> None:
    eaten = []
    for _ in range(megabytes):
        eaten.append(b"x" * (1 << 20))  # noqa: PERF401
    tell(folder, "ate", megabytes=len(eaten))


@flow
def open_files(folder: str, count: int) -> None:
    files = [Path("/dev/null").open() for _ in range(count)]  # noqa: SIM115
    tell(folder, "opened", count=len(files))


@flow
def start_children(folder: str, count: int) -> None:
    children: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            children.append(subprocess.Popen(["sleep", "20"]))  # noqa: PERF401
        tell(folder, "started", count=len(children))
    finally:
        for child in children:
            child.kill()


@flow
def burn(folder: str) -> None:
    while True:
        pass


@flow
def ignore_sigterm(folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(folder, "started", pid=os.getpid())
    while True:
        time.sleep(0.1)


@flow
def print_much(folder: str, megabytes: int) -> None:
    line = "x" * 1023 + "\n"
    for _ in range(megabytes * 1024):
        sys.stdout.write(line)
    sys.stdout.flush()


@flow
def wait(folder: str, seconds: float = 60) -> None:
    tell(folder, "started", pid=os.getpid(), parent=os.getppid())
    time.sleep(seconds)
    print("and still here", flush=True)
    tell(folder, "ended")


def on_cancel(flow: Any, flow_run: Any, state: Any) -> None:
    tell(flow_run.parameters["folder"], "hook", state=state.name)


@flow(on_cancellation=[on_cancel])
async def wait_async(folder: str, seconds: float = 60) -> None:
    tell(folder, "started", pid=os.getpid())
    await asyncio.sleep(seconds)
    tell(folder, "ended")


_ORPHAN = "import os, sys, time; os.setsid(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"


@flow
def start_everything(folder: str) -> None:
    """Threads, a child, one in a session of its own, one without parent, and a fork that is no new program."""
    pids = [os.getpid()]
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    pids.append(subprocess.Popen(["sleep", "600"]).pid)
    pids.append(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
    orphan = Path(folder) / "orphan"
    shell = f'{sys.executable} -c "{_ORPHAN}" {orphan} &'
    subprocess.run(["sh", "-c", shell], check=True)
    forked = os.fork()
    if forked == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    pids.append(forked)
    while not orphan.exists() or not orphan.read_text():
        time.sleep(0.05)
    pids.append(int(orphan.read_text()))
    tell(folder, "started", pids=pids)
    time.sleep(600)

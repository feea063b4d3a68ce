"""`up`, `down` and `reset`: the stack's beginning and end at somebody's terminal."""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from deployments.terminal import INTERRUPTED, QUIET
from sandbox import control
from sandbox.errors import SandboxError
from sandbox.process import end_all, marked
from sandbox.stack import Stack
from sandbox.state import StateFolder
from sandbox.story import down_command, run_story
from sandbox.terminal import Terminal
from sandbox.wiring import presets_of

_DOWN_SECONDS = 40


def up(options: argparse.Namespace) -> int:
    if sys.platform != "linux":
        raise SandboxError("The sandbox runs on Linux alone: elsewhere use a virtual machine, WSL 2 or a container.")
    if options.ports not in {"fixed", "free"}:
        raise SandboxError(f"PORTS is {options.ports!r}; it can be fixed or free.")
    if options.urls is not None:
        try:
            options.urls = options.urls.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SandboxError(
                f"URLS={options.urls} cannot be read ({error}): name a file with a URL a line."
            ) from error
    return asyncio.run(_up(options))


async def _up(options: argparse.Namespace) -> int:
    terminal = Terminal()
    stack = Stack(
        options.state,
        ports=options.ports,
        presets=presets_of(os.environ),
        schedules=options.schedules,
        worker_type=os.environ.get("WORKER") or "forkserver",
        reporter=terminal,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stack.asked_to_stop.set)
    work = asyncio.create_task(_session(stack, terminal, options))
    stop = asyncio.create_task(stack.asked_to_stop.wait())
    try:
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if work.done():
            return work.result()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        terminal.settle()
    return INTERRUPTED if options.once else 0


async def _session(stack: Stack, terminal: Terminal, options: argparse.Namespace) -> int:
    terminal.line(f"Starting the sandbox; its state is kept in {_short(options.state)}")
    began = time.monotonic()
    async with stack:
        story = asyncio.create_task(run_story(stack, terminal, urls=options.urls, began=began, stays=not options.once))
        death = asyncio.create_task(stack.died.get())
        try:
            await asyncio.wait((story, death), return_when=asyncio.FIRST_COMPLETED)
            if story.done():
                completed = await story
                if options.once:
                    return 0 if completed else 1
                terminal.line(f"Everything keeps running; Ctrl-C or {down_command(stack.wiring)} stops it.")
            raise SandboxError(await death)
        finally:
            story.cancel()
            death.cancel()
            # What they do at their end comes before the line that tells of the stopping.
            await asyncio.gather(story, death, return_exceptions=True)


def down(options: argparse.Namespace) -> int:
    state = StateFolder(options.state)
    if not state.path.exists():
        print("Nothing is running.")
        return 0
    terminal, began = Terminal(), time.monotonic()
    try:
        terminal.progress("stopping everything")
        left = _end_supervisor(state)
    finally:
        terminal.settle()
    took = (f" ({time.monotonic() - began:.1f} s)", QUIET)
    if left is None:
        terminal.line("The sandbox is stopped", took)
    else:
        terminal.line(f"Ended {left} processes that a killed sandbox had left." if left else "Nothing is running.")
    return 0


def _end_supervisor(state: StateFolder) -> int | None:
    """None once the supervisor has ended; where there is none, how many processes a killed one had left."""
    answer = control.call(state.control_socket, {"do": "down"})
    deadline = time.monotonic() + _DOWN_SECONDS
    while not state.take_lock():
        if time.monotonic() > deadline:
            pid = (state.read_state() or {}).get("supervisor", {}).get("pid")
            raise SandboxError(
                f"The supervisor did not end within {_DOWN_SECONDS} s. End it with `kill -9 {pid or '<its pid>'}`;"
                " `make down` then ends what it leaves."
            )
        time.sleep(0.1)
    left = marked(state.marker)
    asyncio.run(end_all(left))
    state.remove_state()
    state.release_lock()
    return len(left) if answer is None else None


def reset(options: argparse.Namespace) -> int:
    """Forget the kept state: database, keys, logs."""
    down(options)
    shutil.rmtree(options.state, ignore_errors=True)
    shutil.rmtree(Path("/var/tmp") / f"stumbleable-sandbox-{StateFolder(options.state).marker}", ignore_errors=True)  # noqa: S108
    print(f"{_short(options.state)} is removed.")
    return 0


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

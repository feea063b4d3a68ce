"""`python -m sandbox`: the local stack's commands."""

import argparse
import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from sandbox import control
from sandbox.errors import SandboxError
from sandbox.process import end_all, marked
from sandbox.stack import ALL_PARTS, Stack
from sandbox.state import StateFolder, default_folder
from sandbox.story import run_story
from sandbox.terminal import Terminal
from sandbox.tokens import mint
from sandbox.wiring import SERVICES, presets_of

_DOWN_SECONDS = 40
_LOG_LINES = 100
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def up(options: argparse.Namespace) -> int:
    if options.urls is not None:
        try:
            options.urls = options.urls.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SandboxError(f"URLS={options.urls} cannot be read: {error}.") from error
    return asyncio.run(_up(options))


async def _up(options: argparse.Namespace) -> int:
    terminal = Terminal()
    stack = Stack(
        options.state,
        presets=presets_of(os.environ),
        schedules=options.schedules,
        worker_type=os.environ.get("WORKER") or "forkserver",
        reporter=terminal,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stack.asked_to_stop.set)
    work = asyncio.create_task(_session(stack, terminal, options))
    stop = asyncio.create_task(stack.asked_to_stop.wait())
    await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if work.done():
        return work.result()
    terminal.line("Stopping.")
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return _INTERRUPTED if options.once else 0


async def _session(stack: Stack, terminal: Terminal, options: argparse.Namespace) -> int:
    terminal.line(f"Starting the sandbox; its state is kept in {_short(options.state)}")
    began = time.monotonic()
    async with stack:
        story = asyncio.create_task(run_story(stack, terminal, urls=options.urls, began=began))
        death = asyncio.create_task(stack.died.get())
        try:
            await asyncio.wait((story, death), return_when=asyncio.FIRST_COMPLETED)
            if story.done():
                completed = await story
                if options.once:
                    return 0 if completed else 1
                terminal.line("Everything keeps running; Ctrl-C or `make down` stops it.")
            raise SandboxError(await death)
        finally:
            story.cancel()
            death.cancel()


def down(options: argparse.Namespace) -> int:
    state = StateFolder(options.state)
    if not state.path.exists():
        print("Nothing is running.")
        return 0
    answer = control.call(state.control_socket, {"do": "down"})
    deadline = time.monotonic() + _DOWN_SECONDS
    while not state.take_lock():
        if time.monotonic() > deadline:
            raise SandboxError(f"The supervisor did not end within {_DOWN_SECONDS} s.")
        time.sleep(0.1)
    left = marked(state.marker)
    asyncio.run(end_all(left))
    state.remove_state()
    state.release_lock()
    if answer is None:
        print(f"Ended {len(left)} processes that a killed sandbox had left." if left else "Nothing is running.")
    else:
        print("The sandbox is stopped.")
    return 0


def reset(options: argparse.Namespace) -> int:
    """Forget the kept state: database, keys, logs."""
    down(options)
    shutil.rmtree(options.state, ignore_errors=True)
    shutil.rmtree(Path("/var/tmp") / f"stumbleable-sandbox-{StateFolder(options.state).marker}", ignore_errors=True)  # noqa: S108
    print(f"{_short(options.state)} is removed.")
    return 0


def order(options: argparse.Namespace) -> int:
    """start, stop, kill: said to the supervisor, so that the part stays its child."""
    request = {"do": options.command, "part": options.part, "only": getattr(options, "only", False)}
    answer = control.call(StateFolder(options.state).control_socket, request)
    if answer is None:
        raise SandboxError("Nothing is running: `make up` starts the sandbox.")
    print(answer["message"])
    return 0


def status(options: argparse.Namespace) -> int:
    state = StateFolder(options.state)
    known = _known(state)
    for name, part in known["parts"].items():
        pid = f"pid {part['pid']}" if part.get("pid") else ""
        print(f"  {name:<12} {part.get('status', 'given'):<9} {pid:<12} {part['url']}")
    return 0


def faults(options: argparse.Namespace) -> int:
    url = _known(StateFolder(options.state))["parts"][options.service]["url"] + "/__faults"
    wanted = {"fault": options.fault, "times": options.times, "seconds": options.seconds}
    body = {name: value for name, value in wanted.items() if value is not None or name == "fault"}
    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            answer = client.get(url) if options.action == "show" else client.put(url, json=body)
    except httpx.HTTPError as error:
        raise SandboxError(f"{options.service} does not answer ({type(error).__name__}): is it stopped?") from error
    print(answer.text)
    return 0 if answer.is_success else 1


def token(options: argparse.Namespace) -> int:
    state = StateFolder(options.state)
    issuer = _known(state)["clerk_issuer"]
    print(mint(state, issuer, user=options.user, expires_seconds=options.expires))
    return 0


def logs(options: argparse.Namespace) -> int:
    path = StateFolder(options.state).log(options.part)
    if not path.exists():
        raise SandboxError(f"{options.part} has not written a log yet.")
    os.execvp(  # noqa: S606
        "tail", ["tail", "-n", str(_LOG_LINES), *(["-F"] if options.follow else []), str(path)]
    )


def environment(options: argparse.Namespace) -> int:
    """The variables a shell needs to run flows, deployments or the Prefect CLI against the sandbox."""
    answer = control.call(StateFolder(options.state).control_socket, {"do": "environment"})
    if answer is None:
        raise SandboxError("Nothing is running: `make up` starts the sandbox.")
    values: dict[str, str] = answer["environment"]
    if options.name is not None:
        if options.name not in values:
            raise SandboxError(f"There is no {options.name}; there are {', '.join(values)}.")
        print(values[options.name])
        return 0
    for name, value in values.items():
        if name not in {"HOST", "PORT"}:
            print(f"export {name}={shlex.quote(value)}")
    return 0


def _known(state: StateFolder) -> dict[str, Any]:
    known = state.read_state()
    if known is None:
        raise SandboxError("Nothing is running: `make up` starts the sandbox.")
    return known


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() not in {"", "0", "false", "no"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="The scheduler's local stack.")
    parser.add_argument("--state", type=Path, default=default_folder(), help="state folder (default: .sandbox)")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    starting = command("up", up, "start everything, crawl the seed pages, stay until Ctrl-C")
    starting.add_argument("--once", action="store_true", default=_is_set("ONCE"), help="stop after the result (ONCE=1)")
    starting.add_argument(
        "--urls",
        type=Path,
        default=Path(os.environ["URLS"]) if os.environ.get("URLS") else None,
        help="crawl this file's URLs (URLS=)",
    )
    starting.add_argument("--schedules", action="store_true", default=_is_set("SCHEDULES"), help="SCHEDULES=1")
    command("down", down, "stop everything, also what a killed supervisor has left")
    command("reset", reset, "stop everything and remove the kept state")
    command("status", status, "each part's state, pid and address")
    for name, text in (
        ("start", "start a stopped part"),
        ("stop", "stop a part"),
        ("kill", "SIGKILL a part and all it started"),
    ):
        ordering = command(name, order, text)
        ordering.add_argument("part", choices=ALL_PARTS)
        if name == "kill":
            ordering.add_argument("--only", action="store_true", help="its own process alone, not what it started")
    _add_faults(command("faults", faults, "switch a stand-in's faults on and off"))
    minting = command("token", token, "a session token of the admin")
    minting.add_argument("--user", action="store_true", help="of the plain user instead")
    minting.add_argument("--expires", type=int, default=3600, metavar="SECONDS", help="from now; negative: has ended")
    reading = command("logs", logs, "the end of a part's log")
    reading.add_argument("part")
    reading.add_argument("-f", "--follow", action="store_true")
    command("env", environment, "the stack's variables, for a shell").add_argument("name", nargs="?")
    return parser


def _add_faults(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    services = ("clerk", "site", *SERVICES)
    setting = actions.add_parser("set")
    setting.add_argument("service", choices=services)
    setting.add_argument("fault")
    setting.add_argument("--times", type=int, help="for so many requests only")
    setting.add_argument("--seconds", type=float, help="how long `slow` takes")
    for name in ("clear", "show"):
        actions.add_parser(name).add_argument("service", choices=services)
    parser.set_defaults(fault=None, times=None, seconds=None)

"""`python -m sandbox`: the local stack's commands."""

import argparse
import asyncio
import errno
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from deployments.terminal import INTERRUPTED, complain
from sandbox import control, prometheus, session
from sandbox.errors import SandboxError
from sandbox.stack import ALL_PARTS
from sandbox.state import StateFolder, default_folder
from sandbox.terminal import Terminal
from sandbox.tokens import mint
from sandbox.wiring import SERVICES

_NOTHING = "Nothing is running: `make up` starts the sandbox."
_LOG_LINES = 100
# What a person can do about the machine's own refusals; any other OSError is a mistake of ours.
_REMEDIES = {
    errno.ENOSPC: "Make room there, or name another folder with SANDBOX_STATE.",
    errno.EDQUOT: "Make room there, or name another folder with SANDBOX_STATE.",
    errno.EROFS: "Name a folder that can be written with SANDBOX_STATE.",
    errno.EACCES: "It is another user's: give it back (chown), or name another folder with SANDBOX_STATE.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n 4096) and try again.",
}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except SandboxError as error:
        complain(str(error), by="sandbox")
        return 1
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        complain(f"{error.filename or options.state}: {error.strerror}. {_REMEDIES[error.errno]}", by="sandbox")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def order(options: argparse.Namespace) -> int:
    """start, stop, kill: said to the supervisor, so that the part stays its child."""
    request = {"do": options.command, "part": options.part, "only": getattr(options, "only", False)}
    terminal = Terminal()
    try:
        terminal.progress(f"{options.command} {options.part}")
        answer = _asked(StateFolder(options.state), request)
    finally:
        terminal.settle()
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
    if not answer.is_success:
        raise SandboxError(f"{options.service} refuses: {answer.json().get('error', answer.text)}.")
    print(answer.text)
    return 0


def watch(options: argparse.Namespace) -> int:
    """Prometheus beside a running sandbox, with the project's alerts, until Ctrl-C."""
    state = StateFolder(options.state)
    return asyncio.run(_watch(state, _known(state)["parts"]["shim"]["url"], options.port))


async def _watch(state: StateFolder, shim_url: str, port: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with prometheus.scraping(shim_url, state.path / "prometheus", port=port, marker=state.marker) as url:
        print(f"Prometheus: {url}/alerts (scrapes {shim_url}/metrics every 5 s; Ctrl-C stops it)", flush=True)
        await stop.wait()
    return 0


def token(options: argparse.Namespace) -> int:
    state = StateFolder(options.state)
    issuer = _known(state)["clerk_issuer"]
    print(mint(state, issuer, user=options.user, expires_seconds=options.expires))
    return 0


def logs(options: argparse.Namespace) -> int:
    path = StateFolder(options.state).log(options.part)
    if not path.exists():
        there = sorted(log.stem for log in path.parent.glob("*.log"))
        known = f"there are {', '.join(there)}" if there else "nothing has been started yet, `make up` does"
        raise SandboxError(f"There is no log of {options.part}: {known}.")
    os.execvp(  # noqa: S606
        "tail", ["tail", "-n", str(_LOG_LINES), *(["-F"] if options.follow else []), str(path)]
    )


def environment(options: argparse.Namespace) -> int:
    """The variables a shell needs to run flows, deployments or the Prefect CLI against the sandbox."""
    answer = _asked(StateFolder(options.state), {"do": "environment"})
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


def _asked(state: StateFolder, request: dict[str, Any]) -> dict[str, Any]:
    """The supervisor's answer."""
    answer = control.call(state.control_socket, request) if state.path.exists() else None
    if answer is None:
        raise SandboxError(_NOTHING)
    return answer


def _known(state: StateFolder) -> dict[str, Any]:
    known = state.read_state()
    if known is None:
        raise SandboxError(_NOTHING)
    return known


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

    starting = command("up", session.up, "start everything, crawl the seed pages, stay until Ctrl-C")
    starting.add_argument("--once", action="store_true", default=_is_set("ONCE"), help="stop after the result (ONCE=1)")
    starting.add_argument(
        "--urls",
        type=Path,
        default=Path(os.environ["URLS"]) if os.environ.get("URLS") else None,
        help="crawl this file's URLs (URLS=)",
    )
    starting.add_argument("--schedules", action="store_true", default=_is_set("SCHEDULES"), help="SCHEDULES=1")
    starting.add_argument(
        "--ports",
        default=os.environ.get("PORTS") or "fixed",
        metavar="fixed|free",
        help="free: other ports than the usual ones, beside another sandbox (PORTS=free)",
    )
    command("down", session.down, "stop everything, also what a killed supervisor has left")
    command("reset", session.reset, "stop everything and remove the kept state")
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
    watching = command("prometheus", watch, "Prometheus beside the running sandbox, until Ctrl-C")
    watching.add_argument("--port", type=int, default=prometheus.PORT)
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

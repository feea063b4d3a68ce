"""A person's shell beside a stack: the docs' commands are run in it as they stand, with the stack's own addresses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox.debian import program
from sandbox.postgres import find_installation
from sandbox.stack import Stack
from sandbox.standins.people import ADMIN
from sandbox.state import REPOSITORY
from tests.docs.commands import Command

_PATIENCE_SECONDS = 120
# What never ends is watched for a moment; it must have begun to tell by then.
_STREAM = """#!/bin/bash
# The real {name}, which a person would stop with Ctrl-C where it goes on for ever.
said=$(mktemp); {real} "$@" >"$said"; status=$?
cat "$said"; [ $status -eq {stopped} ] && grep -q ready "$said" && status=0
rm -f "$said"; exit $status
"""
_CURL = 'curl --fail-with-body --noproxy "*" --max-time $([[ " $* " = *" -N "* ]] && echo 4 || echo 30)'
_STAND_IN = '#!/bin/sh\nexec {python} {script} {name} "$@"\n'
_STAND_INS = ("kubectl", "docker", "podman", "kind", "k3s")
# Prefect asks git for the commit that it deploys, some fifty times: without a checkout around it that comes to nothing.
_GIT = """#!/bin/bash
case "$1" in checkout | clone | diff) exec {python} {script} git "$@" ;; esac
PATH=${{PATH#*:}} exec git "$@"
"""


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    command: Command
    status: int
    said: str
    complained: str
    calls: list[dict[str, Any]]
    """What the stand-ins of a cluster's programs were asked for."""


class Shell:
    def __init__(self, stack: Stack, folder: Path, manifests: dict[str, str]) -> None:
        self._stack = stack
        self.folder = folder / "checkout"
        self._notes = folder / "notes"
        programs = folder / "programs"
        for made in (self.folder, self._notes, programs):
            made.mkdir()
        for name in ("curl", "jq"):
            program(name)
        for path in REPOSITORY.iterdir():
            if path.name not in (".git", ".venv", ".sandbox"):
                (self.folder / path.name).symlink_to(path)
        (self.folder / ".venv").symlink_to(sys.prefix)
        (folder / "cluster.json").write_text(json.dumps(manifests))
        _install(programs)
        self._environment = self._of_a_person(programs, folder / "cluster.json")

    def _of_a_person(self, programs: Path, cluster: Path) -> dict[str, str]:
        wiring = self._stack.wiring
        environment = wiring.base_environment() | wiring.shim_environment()
        binaries = find_installation(self._stack.state).binaries
        return environment | {
            "PATH": f"{programs}:{environment['PATH']}:{binaries}",
            "DATABASE_URL": wiring.database_url,
            "PREFECT_API_DATABASE_CONNECTION_URL": wiring.prefect_database_url,
            "SANDBOX_STATE": str(self._stack.state.path),
            "SHIM_LOG": str(self._stack.state.log("shim")),
            "CLUSTER": str(cluster),
            "NS": "stumbleable",
            "CLERK_USER_ID": ADMIN.clerk_user_id,
        }

    async def run(self, commands: Sequence[Command], **variables: str) -> list[Ran]:
        """Runs commands one after the other in one shell, whatever comes of the one before."""
        for old in self._notes.iterdir():
            old.unlink()
        lines = ["shopt -s expand_aliases", "set -o pipefail", 'alias k="kubectl -n $NS"']
        for number, command in enumerate(commands):
            note = self._notes / str(number)
            lines.append(f"export CALLS={note}.calls")
            lines.append(f"{{ {self.here(command.text)}\n}} >{note}.said 2>{note}.complained; echo $? >{note}.status")
        process = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "-c", "\n".join([*lines, "wait"])),
            cwd=self.folder,
            env=self._environment | {"TOKEN": self._stack.token(), **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, errors = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert not errors, errors.decode()
        return [self._ran(number, command) for number, command in enumerate(commands)]

    def here(self, text: str) -> str:
        """The command with this stack's addresses, and something in the place of each <placeholder>."""
        wiring = self._stack.wiring
        shim, prefect = (urlsplit(url).netloc for url in (wiring.url("shim"), wiring.prefect_ui_url))
        for told, here in {
            "localhost:7005": shim,
            "127.0.0.1:8080": shim,
            "localhost:4200": prefect,
            "prefect-server:4200": prefect,
            "https://api.clerk.com": wiring.url("clerk"),
            "deployment run ...": "deployment run crawl_pending/crawl_pending",
        }.items():
            text = text.replace(told, here)
        return re.sub(r"<(\w+)>", r"a-\1", re.sub(r"<commit>", "0123456", text))

    def _ran(self, number: int, command: Command) -> Ran:
        def note(name: str) -> str:
            path = self._notes / f"{number}.{name}"
            return path.read_text(errors="replace") if path.exists() else ""

        calls = [json.loads(line) for line in note("calls").splitlines()]
        return Ran(command, int(note("status") or -1), note("said"), note("complained"), calls)


def _install(programs: Path) -> None:
    texts = {
        "curl": _STREAM.format(name="curl", real=f"command env PATH=${{PATH#*:}} {_CURL}", stopped=28),
        "node": _STREAM.format(name="node", real="env PATH=${PATH#*:} timeout 6 node", stopped=124),
    }
    script = Path(__file__).with_name("stand_in.py")
    texts |= {name: _STAND_IN.format(python=sys.executable, script=script, name=name) for name in _STAND_INS}
    texts["git"] = _GIT.format(python=sys.executable, script=script)
    for name, text in texts.items():
        (programs / name).write_text(text)
        os.chmod(programs / name, 0o755)  # noqa: PTH101

"""Somebody who follows a document on a copy of the repository, and notes what came of each block."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from sandbox.parts import dying_with_us
from tests.docs.document import Block
from tests.e2e.harness import ENDED
from tests.test_adding_a_job_type import ROOT, copy_repository

Answer: TypeAlias = dict[str, Any]

# What is installed is there already; a copy of it would be built anew.
_INSTALLED = (".venv", "sandbox/node_modules", "dashboard/node_modules", "dashboard/dist", "checks/node_modules")
_MAKE = ["make", *(word for name in _INSTALLED for word in ("-o", f"{name}/.ready"))]
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SANDBOX_PORTS")
_PUBLISHED = "http://localhost:7005"
_BEFORE = f'make() {{ command {shlex.join(_MAKE)} "$@"; }}; [ ! -e .exported ] || . ./.exported'
_AFTER = "export -p >.exported"

_curl = argparse.ArgumentParser("curl", exit_on_error=False)
_curl.add_argument("-X", default="GET")
_curl.add_argument("-H", action="append", default=[])
_curl.add_argument("-d")
_curl.add_argument("url")


def _end(process: subprocess.Popen[Any]) -> bool:
    """Whether it had to be killed, with the session that began with it."""
    if process.poll() is not None:
        return False
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    return True


class Reader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack: subprocess.Popen[bytes] | None = None
        copy_repository(folder, ".")
        for name in _INSTALLED:
            if (ROOT / name).exists():
                (folder / name).symlink_to(ROOT / name)
        # The copy's own code goes before the code that .venv was made for.
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._environment = kept | {"PYTHONPATH": str(folder), "PORTS": "free"}

    def run(self, commands: str, *, seconds: float = 180) -> tuple[int, str]:
        """Exit status and output; what the commands export is there for the next ones."""
        began = subprocess.Popen(
            ["bash", "-e", "-c", f"{_BEFORE}\n{commands}\n{_AFTER}"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = began.communicate(timeout=seconds)
        finally:
            _end(began)
        return began.returncode, output

    def start(self, command: str, *, seconds: float = 180) -> None:
        """`make up`, or what else the document starts the sandbox with; returns when it says that all keeps running."""
        said = self.folder / "up.log"
        with said.open("wb") as output:
            self._stack = subprocess.Popen(
                dying_with_us([*_MAKE, *shlex.split(command)[1:]]),
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        while "Everything keeps running" not in said.read_text():
            assert self._stack.poll() is None, f"it ended:\n{said.read_text()}"
            assert time.monotonic() < deadline, f"not within {seconds:g} s:\n{said.read_text()}"
            time.sleep(0.2)

    def stop(self) -> None:
        """Nothing that was started is left."""
        if self._stack is None:
            return
        try:
            self.run("make down", seconds=60)
            self._stack.wait(20)
        finally:
            if _end(self._stack):
                self.run("make down", seconds=60)

    def ask(self, block: Block) -> Answer:
        """What the sandbox answers a block's `curl`, which the shell takes apart and nobody has to have installed."""
        status, words = self.run(f"curl() {{ printf '%s\\0' \"$@\"; }}\n{block.text}")
        assert status == 0, words
        given = _curl.parse_args(words.split("\0")[:-1])
        state = json.loads((self.folder / ".sandbox" / "state.json").read_text())
        url = given.url.replace(_PUBLISHED, state["parts"]["shim"]["url"])
        headers = dict(header.split(": ", 1) for header in given.H)
        answer = httpx.request(given.X, url, headers=headers, content=given.d, trust_env=False, timeout=20)
        body: Answer = answer.json()
        return body

    def asked(self, block: Block, word: str, *, seconds: float = 30) -> Answer:
        """The first answer that has the word in it."""
        deadline = time.monotonic() + seconds
        while word not in json.dumps(answer := self.ask(block), separators=(",", ":")):
            assert time.monotonic() < deadline, f"no {word} within {seconds:g} s:\n{answer}"
            time.sleep(0.5)
        return answer

    def triggered(self, trigger: Block, follow: Block, *, seconds: float = 60) -> Answer:
        """The job that a trigger has begun, once it has ended."""
        accepted = self.ask(trigger)
        assert accepted.get("status") == "pending", accepted
        self.run(f"export JOB_ID={accepted['jobId']}")
        deadline = time.monotonic() + seconds
        while (job := self.ask(follow))["status"] not in ENDED:
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
        return job

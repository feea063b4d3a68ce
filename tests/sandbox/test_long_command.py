"""What the Makefile's long commands show: what is under way, how long it took, and why it failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.long_command import LOG, cause_of
from sandbox.state import REPOSITORY
from tests.terminals import COLOUR, Seen, piped, python, watched

ELSEWHERE = {"PYTHONPATH": str(REPOSITORY)}


def long_command(folder: Path, *words: str, **environment: str) -> Seen:
    return piped(python("-m", "sandbox.long_command", *words), ELSEWHERE | environment, cwd=folder)


def test_a_pipe_gets_one_line_when_it_is_done(tmp_path: Path) -> None:
    seen = long_command(tmp_path, "Installing it", "sh", "-c", "echo added 12 packages")
    assert (seen.status, seen.errors) == (0, "")
    assert re.fullmatch(r"Installing it: done \(\d+\.\d s\)\n", seen.output)


def test_a_terminal_shows_the_seconds_go_by_and_keeps_the_last_line(tmp_path: Path) -> None:
    command = python("-m", "sandbox.long_command", "Installing it", "sleep", "2.2")
    seen = watched(command, ELSEWHERE, cwd=tmp_path)
    assert seen.status == 0
    assert "Installing it  0 s" in seen.text
    assert re.search(r"Installing it  [12] s", seen.text)
    (line,) = seen.lines
    assert re.fullmatch(r"Installing it: done \(\d+\.\d s\)", line)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_keeps_every_line_gets_one(tmp_path: Path, environment: dict[str, str]) -> None:
    seen = watched(python("-m", "sandbox.long_command", "Installing it", "true"), ELSEWHERE | environment, cwd=tmp_path)
    assert re.fullmatch(r"Installing it: done \(\d+\.\d s\)\r\n", seen.text)


def test_warnings_of_a_command_that_goes_well_are_shown_and_its_chatter_is_not(tmp_path: Path) -> None:
    seen = long_command(tmp_path, "Building it", "sh", "-c", "echo 12 modules; echo 'a chunk is large' >&2")
    assert (seen.status, seen.errors) == (0, "a chunk is large\n")
    assert "modules" not in seen.output


# What a tool says, and the cause that is told for it.
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("npm error code ENOTFOUND\nnpm error network request to https://registry failed", "not within reach"),
        ("npm error code EAI_AGAIN", "not within reach"),
        ("  Caused by: dns error: failed to lookup address information: Name or service not known", "not within reach"),
        ("ERROR: No matching distribution found for uv==0.13.9", "not within reach"),
        ("error: Failed to write to the cache: No space left on device (os error 28)", "the disk is full"),
        ("npm error code ENOSPC\nnpm error request failed, reason: ECONNRESET", "the disk is full"),
        ("npm error code EACCES\nnpm error syscall mkdir", "a file belongs to another user"),
        ("npm error code EINTEGRITY", "what was downloaded is not what the lock file names"),
        ("error: Hash mismatch for `rich==15.0.0`", "what was downloaded is not what the lock file names"),
        ("npm error code EUSAGE", "the lock file does not fit package.json"),
        ("FATAL ERROR: JavaScript heap out of memory", "memory ran out"),
    ],
)
def test_a_known_failure_is_told_with_its_cause_and_what_to_do(tmp_path: Path, said: str, cause: str) -> None:
    seen = long_command(tmp_path, "Installing it", "sh", "-c", 'printf "%s\\n" "$0" >&2; exit 7', said)
    assert (seen.status, seen.output) == (7, "")
    what, remedy = seen.errors.splitlines()
    assert re.fullmatch(r"Installing it: failed \(\d+\.\d s\): .*\.", what)
    assert cause in what
    assert remedy.endswith(f", then run make again. All it said: {LOG}")
    assert (tmp_path / LOG).read_text() == f"{said.strip()}\n"


def test_a_failure_that_is_not_known_shows_its_end(tmp_path: Path) -> None:
    assert cause_of("something odd") is None
    seen = long_command(tmp_path, "Installing it", "sh", "-c", "seq 40; echo something odd >&2; exit 3")
    assert seen.status == 3
    *told, last = seen.errors.splitlines()
    assert told == [f"    {number}" for number in range(26, 41)]
    assert "failed" in last
    assert "exit status 3; its last lines stand above." in last


def test_mistakes_are_shown_whole_and_in_colour_where_there_is_any(tmp_path: Path) -> None:
    words = ("--mistakes", "Checking it", "sh", "-c", 'seq 40; echo "colour: $FORCE_COLOR"; exit 1')
    plain = long_command(tmp_path, *words)
    assert plain.errors.splitlines()[:-1] == [*map(str, range(1, 41)), "colour: "]
    assert "colour: 1" in long_command(tmp_path, *words, FORCE_COLOR="1").errors
    assert "colour: 1" in watched(python("-m", "sandbox.long_command", *words), ELSEWHERE, cwd=tmp_path).text


def test_credentials_of_a_registry_are_not_repeated(tmp_path: Path) -> None:
    said = "ECONNREFUSED https://somebody:hunter2@registry.test/rich"
    seen = long_command(tmp_path, "Installing it", "sh", "-c", 'echo "$0" >&2; exit 1', said)
    assert "hunter2" not in seen.text + (tmp_path / LOG).read_text()


def test_where_the_log_cannot_be_written_nothing_is_promised(tmp_path: Path) -> None:
    (tmp_path / LOG.parent.parent).write_text("a file stands in its place")
    seen = long_command(tmp_path, "Installing it", "sh", "-c", "echo ENOSPC >&2; exit 1")
    assert seen.errors.splitlines()[1] == "Make room, then run make again."


def test_a_command_that_is_not_installed_is_named(tmp_path: Path) -> None:
    seen = long_command(tmp_path, "Installing it", "no-such-program")
    assert (seen.status, seen.output) == (127, "")
    assert seen.errors == "Installing it: failed: no-such-program is not installed, or not in PATH.\n"


def test_ctrl_c_ends_the_command_too(tmp_path: Path) -> None:
    script = "trap 'touch told; exit 1' INT; while :; do sleep 0.1; done"
    command = python("-m", "sandbox.long_command", "Installing it", "sh", "-c", script)
    seen = watched(command, ELSEWHERE, cwd=tmp_path, interrupt_at="Installing it  [1-9] s")
    assert seen.status == 130
    assert (tmp_path / "told").exists()
    assert not COLOUR.search(seen.text)
    assert "Traceback" not in seen.text

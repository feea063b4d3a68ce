"""What `python -m sandbox` says of a start, of its end, and of everything that keeps it from either."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxError
from sandbox.ports import FIXED, free_ports
from sandbox.stack import Stack
from sandbox.state import StateFolder
from sandbox.story import next_steps
from sandbox.wiring import Wiring, make_wiring
from tests.terminals import COLOUR, LIVE, Seen, piped, python, watched

# A stack of two parts that need nothing, told of as `make up` tells.
_START = """
import asyncio, sys
from pathlib import Path
from sandbox.stack import Stack
from sandbox.terminal import Terminal
async def main():
    async with Stack(Path(sys.argv[1]), ports="free", parts=("site", "clerk"), reporter=Terminal()):
        pass
asyncio.run(main())
"""
_LASTING = [
    r"  (site|clerk) +http://127\.0\.0\.1:\d+ +\d+\.\d s",
    r"  (site|clerk) +http://127\.0\.0\.1:\d+ +\d+\.\d s",
    r"Everything is stopped \(\d+\.\d s\)",
]
_PRESETS = (
    "DATABASE_URL",
    "SUPABASE_URL",
    "PREFECT_API_URL",
    "CLERK_API_URL",
    "WORKER",
    "URLS",
    "ONCE",
    "SANDBOX_STATE",
)


def sandbox(folder: Path, *words: str, **environment: str) -> Seen:
    return piped(python("-m", "sandbox", "--state", str(folder), *words), environment, unset=_PRESETS)


def assert_lasting(lines: list[str]) -> None:
    assert len(lines) == len(_LASTING), lines
    for line, expected in zip(lines, _LASTING, strict=True):
        assert re.fullmatch(expected, line), line
        assert len(line) <= 80


def test_a_start_at_a_terminal_shows_what_is_waited_for(tmp_path: Path) -> None:
    seen = watched(python("-c", _START, str(tmp_path)))
    assert seen.status == 0
    assert re.search(r"[|/\\-] +\d+ s  waiting for (site|clerk)", seen.text)
    assert re.search(r"[|/\\-] +\d+ s  stopping everything", seen.text)
    assert LIVE.search(seen.text)
    assert COLOUR.search(seen.text)
    assert_lasting(seen.lines)


def test_a_start_through_a_pipe_is_a_line_for_each_part(tmp_path: Path) -> None:
    seen = piped(python("-c", _START, str(tmp_path)))
    assert (seen.status, seen.errors) == (0, "")
    assert "\r" not in seen.output
    assert "\x1b" not in seen.output
    assert_lasting(seen.lines)


@pytest.fixture
def wiring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wiring:
    """As `make up` has it in a checkout."""
    monkeypatch.setattr("sandbox.story.REPOSITORY", tmp_path)
    return wired(tmp_path / ".sandbox")


def wired(folder: Path, **presets: str) -> Wiring:
    state = StateFolder(folder)
    state.create()
    kept: dict[str, Any] = {"presets": presets, "settings": {}, "schedules": False}
    return make_wiring(state, ports="fixed", worker_type="forkserver", **kept)


def test_the_last_screen_fits_80_columns_and_25_lines(wiring: Wiring) -> None:
    lines = next_steps(wiring, "01234567-89ab-4def-8123-456789abcdef")
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 23  # two more follow: how long it took, and that everything keeps running
    text = "\n".join(lines)
    for word in ("/admin", "/docs", ":4200", "sandbox token", "/api/jobs/trigger", "/api/jobs/stream", "$JOB_ID"):
        assert word in text


def test_the_calls_of_the_last_screen_are_of_a_shells_grammar(wiring: Wiring) -> None:
    lines = next_steps(wiring, None)
    calls = "\n".join(line for line in lines if line.startswith(("export TOKEN", "curl", "  -")))
    assert calls.count("curl") == 3
    assert piped(["sh", "-n", "-c", calls]).text == ""


def test_the_last_screen_names_a_sandbox_that_lies_elsewhere(tmp_path: Path) -> None:
    text = "\n".join(next_steps(wired(tmp_path / "else where"), None))
    assert f"-m sandbox --state '{tmp_path}/else where' token" in text


def test_the_last_screen_has_no_token_of_ours_for_another_clerk(tmp_path: Path) -> None:
    presets = {
        "CLERK_API_URL": "https://clerk.test",
        "CLERK_SECRET_KEY": "sk_test_0",
        "CLERK_ISSUER": "https://clerk.test",
    }
    text = "\n".join(next_steps(wired(tmp_path, **presets), None))
    assert "export TOKEN='<a session token of an admin>'" in text
    assert "sandbox token" not in text


# The words of a command where nothing runs, and what it says.
@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("status",), 1, "Nothing is running: `make up` starts the sandbox."),
        (("token",), 1, "Nothing is running: `make up` starts the sandbox."),
        (("env",), 1, "Nothing is running: `make up` starts the sandbox."),
        (("stop", "worker"), 1, "Nothing is running: `make up` starts the sandbox."),
        (("faults", "show", "crawler"), 1, "Nothing is running: `make up` starts the sandbox."),
        (("prometheus",), 1, "Nothing is running: `make up` starts the sandbox."),
        (("logs", "worker"), 1, "There is no log of worker: nothing has been started yet, `make up` does."),
        (("stop", "wroker"), 2, "argument part: invalid choice: 'wroker' (choose from"),
        (("dwon",), 2, "invalid choice: 'dwon' (choose from"),
        (("token", "--expires", "soon"), 2, "argument --expires: invalid int value: 'soon'"),
        (("up", "--urls", "/no/such/file"), 1, "URLS=/no/such/file cannot be read ("),
    ],
)
def test_a_command_that_cannot_is_refused_in_words(
    tmp_path: Path, words: tuple[str, ...], status: int, sentence: str
) -> None:
    seen = sandbox(tmp_path / "none", *words)
    assert (seen.status, seen.output) == (status, "")
    assert sentence in seen.errors
    assert "Traceback" not in seen.errors
    if status == 1:
        assert len(seen.errors.splitlines()) == 1


# The environment of `make up`, and what it says instead of starting.
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DATABASE_URL": "site"}, "DATABASE_URL is not an address like postgresql://user:password@host:5432/database"),
        (
            {"DATABASE_URL": "postgresql://site:hunter/2@127.0.0.1:5432/site"},
            "in a password / @ : # ? and % are written",
        ),
        ({"DATABASE_URL": "postgresql://[::1/site"}, "DATABASE_URL is not an address like"),
        ({"PREFECT_API_URL": "localhost:4200"}, "PREFECT_API_URL is not an address like http://host:4200/api."),
        ({"EMAIL_SERVICE_URL": "email"}, "EMAIL_SERVICE_URL is not an address like http://host:7001."),
        ({"WORKER": "thread"}, "WORKER is 'thread'; it can be forkserver or process."),
    ],
)
def test_up_names_a_variable_that_it_cannot_use(tmp_path: Path, environment: dict[str, str], sentence: str) -> None:
    seen = sandbox(tmp_path / "state", "up", "--once", **environment)
    assert seen.status == 1
    assert seen.errors.startswith("sandbox: ")
    assert sentence in seen.errors
    assert "hunter" not in seen.text
    assert len(seen.errors.splitlines()) == 1


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    seen = sandbox(tmp_path / "file" / "state", "up")
    assert seen.status == 1
    assert seen.errors == (
        f"sandbox: The state folder {tmp_path}/file/state cannot be used (Not a directory):"
        " name another with SANDBOX_STATE.\n"
    )


async def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.stack._MINIMUM_FREE_BYTES", 10**18)
    with pytest.raises(SandboxError, match="make room there, or name another folder with SANDBOX_STATE"):
        async with Stack(tmp_path, ports="free", parts=("site",)):
            pass


async def test_a_port_that_another_sandbox_has_taken_comes_with_the_way_to_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Stack(tmp_path / "one", ports="free", parts=("site",)) as one:
        monkeypatch.setattr("sandbox.wiring.FIXED", {**FIXED, "site": one.wiring.ports["site"]})
        with pytest.raises(
            SandboxError, match=rf"it is the sandbox in {tmp_path}/one, which `\.venv/bin/python -m sandbox"
        ):
            async with Stack(tmp_path / "other", ports="fixed", parts=("site",)):
                pass


async def test_a_database_that_does_not_answer_is_told_with_what_to_look_at(tmp_path: Path) -> None:
    presets = {"DATABASE_URL": f"postgresql://site:hunter2@127.0.0.1:{free_ports(['other'])['other']}/site"}
    with pytest.raises(SandboxError) as refused:
        async with Stack(tmp_path, ports="free", parts=("postgres",), presets=presets):
            pass
    assert str(refused.value) == (
        "The database does not answer: connection refused. Is it running, and are DATABASE_URL's host and port right?"
    )


async def test_a_prefect_that_does_not_answer_is_told_with_what_to_look_at(tmp_path: Path) -> None:
    presets = {"PREFECT_API_URL": f"http://127.0.0.1:{free_ports(['other'])['other']}/api"}
    with pytest.raises(
        SandboxError, match=r"Prefect does not answer at .*: is it running, and is PREFECT_API_URL right\?"
    ):
        async with Stack(tmp_path, ports="free", parts=("worker",), presets=presets):
            pass


async def test_commands_to_a_running_stack_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    async with Stack(tmp_path, ports="free", parts=("site",)):
        fault = await asyncio.to_thread(sandbox, tmp_path, "faults", "set", "site", "explode")
        assert (fault.status, fault.output) == (1, "")
        assert fault.errors.startswith("sandbox: site refuses: unknown fault 'explode'; this service knows ")
        log = await asyncio.to_thread(sandbox, tmp_path, "logs", "stie")
        assert log.errors == "sandbox: There is no log of stie: there are site.\n"
        up = await asyncio.to_thread(sandbox, tmp_path, "up")
        assert up.status == 1
        assert f"runs already (pid {os.getpid()}); `make down` stops it." in up.errors


def test_a_state_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    (tmp_path / "state.json").write_text(json.dumps({"parts": {}})[:-3])
    seen = sandbox(tmp_path, "status")
    assert seen.status == 1
    assert seen.errors == (
        f"sandbox: {tmp_path}/state.json cannot be read: `make down` ends what runs, and `make up` writes it anew.\n"
    )

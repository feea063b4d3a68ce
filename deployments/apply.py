"""Registers everything with a Prefect server: pool, queues, deployments. Done twice, the second changes nothing.

Deployments go through `prefect deploy --all`, the same words an engineer types, so that there is one way. Where the
database can be asked, what admins have edited is deployed in place of what the file says, and told.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from pydantic import ValidationError

from deployments.pool import WARM, ensure_pool, warm_pool
from deployments.terminal import Terminal
from flows.clients import database
from flows.core import schedules
from flows.core.errors import SchedulerError
from flows.core.prefect_yaml import PREFECT_YAML, SLUG, InvalidDeploymentsError, load, parse
from flows.core.schedules import Override, Schedule, effective

_PATIENCE_SECONDS = 10
_TOLD_LINES = 20
_RESTORED = "where an admin has edited one, the shim restores it within 5 s"


async def apply(
    *, pool: str, kind: str, schedules_paused: bool, warm: Collection[str] = (), terminal: Terminal | None = None
) -> None:
    """Makes the server hold what prefect.yaml says. Raises InvalidDeploymentsError with what Prefect refused.

    The job types in `warm` go to a pool beside it whose workers fork their runs, which begin in a fraction of a second.
    """
    content, terminal = load(), terminal or Terminal()
    if unknown := sorted(set(warm) - {stanza.name for stanza in parse(content)}):
        raise ValueError(f"WARM_JOB_TYPES names {', '.join(unknown)}, which prefect.yaml does not have")
    terminal.progress(f"asking Prefect for work pool {pool}")
    async with get_client() as client:
        changes = await ensure_pool(client, pool, kind)
        if warm:
            changes += await ensure_pool(client, warm_pool(pool), WARM)
    for change in changes:
        terminal.line(change)
    files = schedules.of_file(parse(content), paused=schedules_paused)
    overrides = await _overrides(terminal)
    wanted = _adapted(content, pools=lambda name: warm_pool(pool) if name in warm else pool, paused=schedules_paused)
    for name, override in overrides.items():
        _keep(wanted, name, effective(files[name], override))
    with terminal.step("registering the deployments with `prefect deploy --all`") as step:
        step.done = f"deployed {', '.join(_deploy_content(wanted, content))}"
    for name, override in overrides.items():
        terminal.line(kept(files[name], override))


async def _overrides(terminal: Terminal) -> Mapping[str, Override]:
    """What admins have edited, by job type; where the database cannot tell, nothing and a line that says so."""
    if not os.environ.get("SUPABASE_URL"):
        terminal.line(f"schedules are the file's (SUPABASE_URL is not set): {_RESTORED}")
        return {}
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            found = (await schedules.now()).by_type
    except (SchedulerError, ValidationError, TimeoutError) as error:
        reason = str(error) if isinstance(error, SchedulerError) else type(error).__name__
        terminal.line(f"schedules are the file's ({reason}): {_RESTORED}")
        return {}
    finally:
        await database.close()
    known = {stanza.name for stanza in parse(load())}
    return {name: override for name, override in found.items() if override.fields and name in known}


def kept(file: Schedule, override: Override) -> str:
    """One line on what an admin's edits leave in force, and whose they are."""
    said = []
    for field in override.fields:
        new, old = _word(getattr(override, field)), _word(getattr(file, field))
        name = "" if field == "enabled" else f"{field} "
        said.append(f"{name}{new}" if new == old else f"{name}{new} instead of {old}")
    by, at = override.updated_by or "somebody", override.updated_at.astimezone(UTC)
    return f"kept {override.job_type}: {', '.join(said)} (edited by {by} at {at:%Y-%m-%dT%H:%M:%SZ})"


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value or "none")


def _keep(content: dict[str, Any], name: str, schedule: Schedule) -> None:
    """Puts a schedule in the place of a stanza's own."""
    entry = {"cron": schedule.cron, "timezone": schedule.timezone, "slug": SLUG, "active": schedule.enabled}
    for stanza in content["deployments"]:
        if stanza["name"] == name:
            stanza["schedules"] = [entry] if schedule.cron is not None else []


def _deploy_content(wanted: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """The names of what was deployed."""
    if wanted == content:
        return _deploy(PREFECT_YAML)
    with tempfile.TemporaryDirectory() as folder:
        adapted = Path(folder) / "prefect.yaml"
        adapted.write_text(yaml.safe_dump(wanted), encoding="utf-8")
        return _deploy(adapted)


def _adapted(content: dict[str, Any], *, pools: Callable[[str], str], paused: bool) -> dict[str, Any]:
    """The file with the environment's pools, and its schedules switched off where somebody works locally."""
    adapted: dict[str, Any] = yaml.safe_load(yaml.safe_dump(content))
    for stanza in adapted["deployments"]:
        stanza["work_pool"]["name"] = pools(stanza["name"])
        for schedule in stanza.get("schedules", []) if paused else []:
            schedule["active"] = False
    return adapted


def _deploy(path: Path) -> list[str]:
    prefect = Path(sys.executable).with_name("prefect")
    done = subprocess.run(
        [prefect, "--no-prompt", "deploy", "--all", "--prefect-file", path],
        cwd=PREFECT_YAML.parent,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "WARNING", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InvalidDeploymentsError(f"`prefect deploy --all` failed: {reason_of(done.stdout + done.stderr)}")
    return [stanza["name"] for stanza in load(path)["deployments"]]


def reason_of(output: str) -> str:
    """The end of what a command has said; of a traceback its last line, which is the error."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    return lines[-1] if "Traceback (most recent call last):" in output else "\n".join(lines[-_TOLD_LINES:])

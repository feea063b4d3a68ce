"""Registers everything with a Prefect server: pool, queues, deployments. Done twice, the second changes nothing.

Deployments go through `prefect deploy --all`, the same words an engineer types, so that there is one way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client

from deployments.pool import ensure_pool
from deployments.stanzas import PREFECT_YAML, InvalidDeploymentsError, load


async def apply(*, pool: str, kind: str, schedules_paused: bool) -> None:
    """Makes the server hold what prefect.yaml says. Raises InvalidDeploymentsError with what Prefect refused."""
    async with get_client() as client:
        for change in await ensure_pool(client, pool, kind):
            print(change)
    content = load()
    wanted = _adapted(content, pool=pool, schedules_paused=schedules_paused)
    if wanted == content:
        _deploy(PREFECT_YAML)
        return
    with tempfile.TemporaryDirectory() as folder:
        adapted = Path(folder) / "prefect.yaml"
        adapted.write_text(yaml.safe_dump(wanted), encoding="utf-8")
        _deploy(adapted)


def _adapted(content: dict[str, Any], *, pool: str, schedules_paused: bool) -> dict[str, Any]:
    """The file with the environment's pool, and its schedules switched off where somebody works locally."""
    adapted: dict[str, Any] = yaml.safe_load(yaml.safe_dump(content))
    for stanza in adapted["deployments"]:
        stanza["work_pool"]["name"] = pool
        for schedule in stanza.get("schedules", []) if schedules_paused else []:
            schedule["active"] = False
    return adapted


def _deploy(path: Path) -> None:
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
        raise InvalidDeploymentsError(f"prefect deploy failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    names = [stanza["name"] for stanza in load(path)["deployments"]]
    print(f"deployed {', '.join(names)}")

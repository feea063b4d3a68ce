"""A Prometheus that scrapes one shim and knows the project's alerts: for `make prometheus` and the tests."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from sandbox.debian import program
from sandbox.errors import SandboxError
from sandbox.parts import dying_with_us
from sandbox.ports import HOST, holder, is_free
from sandbox.process import MARKER, Process
from sandbox.state import REPOSITORY

RULES = REPOSITORY / "k8s" / "monitoring" / "prometheusrule.yaml"
PORT = 9090

_READY_SECONDS = 30
_TAIL = 1000


def rule_spec() -> dict[str, Any]:
    """The groups of alerts, out of the PrometheusRule that production applies."""
    spec: dict[str, Any] = yaml.safe_load(RULES.read_text())["spec"]
    return spec


def configuration(shim_url: str, *, seconds: int) -> dict[str, Any]:
    """What makes a Prometheus do what the ServiceMonitor makes the operator's do; it looks every so many seconds."""
    every = f"{seconds}s"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {"job_name": "scheduler-service", "static_configs": [{"targets": [urlsplit(shim_url).netloc]}]}
        ],
    }


@contextlib.asynccontextmanager
async def scraping(
    shim_url: str, folder: Path, *, port: int, marker: str, spec: dict[str, Any] | None = None, seconds: int = 5
) -> AsyncIterator[str]:
    """The address of a Prometheus that is ready; it keeps its data below `folder` and ends with this block."""
    if not is_free(port):
        raise SandboxError(
            f"Port {port} is taken by {holder(port) or 'another process'}:"
            " choose another (.venv/bin/python -m sandbox prometheus --port 9091)."
        )
    command = [program("prometheus"), *_arguments(folder, port)]
    _write(folder, {"prometheus.yml": configuration(shim_url, seconds=seconds), "rules.yml": spec or rule_spec()})
    log = folder / "prometheus.log"
    process = Process(dying_with_us(command), env={**os.environ, MARKER: marker}, log=log, cwd=folder)
    url = f"http://{HOST}:{port}"
    try:
        if not await _is_ready(url, process):
            raise SandboxError(f"Prometheus is not ready ({process.status}); its log says:\n{log.read_text()[-_TAIL:]}")
        yield url
    finally:
        process.send(SIGTERM)
        if not await process.wait(5):
            process.send(SIGKILL)
            await process.exited.wait()


def _arguments(folder: Path, port: int) -> list[str]:
    return [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.size=200MB",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
    ]


def _write(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content))


async def _is_ready(url: str, process: Process) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(_READY_SECONDS * 10):
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"{url}/-/ready")).is_success:
                    return True
            if await process.wait(0.1):
                return False
    return False

"""What a worker will not start with, and what it ends with at its start: sentences that say what to set."""

from __future__ import annotations

import errno
import re
import socket
import sys
from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from worker.reach import STANDARD_LIBRARY, out_of_reach
from worker.settings import Settings

_ADDRESS = re.compile(r"https?://[^/\s?#]+(/[^\s?#]*)?")
_ASKED_SECONDS = 5
_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


def explain(error: ValidationError) -> list[str]:
    """A sentence for each setting that cannot be used."""
    return [
        f"WORKER_{str(problem['loc'][0]).upper()} is {problem['input']!r}: {problem['msg']}."
        for problem in error.errors()
    ]


def refusals(settings: Settings, api_url: str | None) -> Iterator[str]:
    """What is wrong before anything is begun."""
    if settings.run_as is not None:
        yield from _user(settings.run_as)
    if not api_url:
        yield (
            "PREFECT_API_URL is not set: it is the address of Prefect's API, like http://host:4200/api."
            " The sandbox has a worker of its own."
        )
    elif not _ADDRESS.fullmatch(api_url):
        yield "PREFECT_API_URL is not an address like http://host:4200/api."
    for name, path in (("WORKER_WAKE_SOCKET", settings.wake_socket), ("WORKER_HEALTH_FILE", settings.health_file)):
        if path is not None and not path.parent.is_dir():
            yield f"{name} is {str(path)!r}, and there is no folder {path.parent}: make it, or name another."
    if settings.health_port and not _is_free(settings.health_port):
        yield f"WORKER_HEALTH_PORT is {settings.health_port}, and that port is taken: end who listens, or name another."


def stranger(api_url: str) -> str | None:
    """A sentence where something else than Prefect answers at the address; who does not answer is waited for."""
    try:
        answer = httpx.get(f"{api_url.rstrip('/')}/health", timeout=_ASKED_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        # Prefect's own client finds the words for an address that is none.
        return None
    if answer.status_code != httpx.codes.NOT_FOUND:
        return None
    return f"What answers at PREFECT_API_URL is not Prefect's API (HTTP 404 to {answer.url.path}): does it end in /api?"


def of_prefect(error: httpx.HTTPStatusError) -> str:
    """What a server that answers, but not as it should, is told with."""
    status = error.response.status_code
    if status in _REFUSED:
        return f"Prefect answers HTTP {status}: set PREFECT_API_AUTH_STRING to what its server was started with."
    return f"Prefect answers HTTP {status} to {error.request.url.path}: its log says why."


def _user(user: str) -> Iterator[str]:
    """Every run would crash for want of its code."""
    try:
        folder = out_of_reach(user)
    except KeyError:
        yield f"WORKER_RUN_AS is {user!r}, and there is no such user."
        return
    if folder is not None:
        yield f"WORKER_RUN_AS is {user!r}, who may not enter {folder}: its runs could not read their code."
        return
    if (folder := out_of_reach(user, STANDARD_LIBRARY)) is not None:
        # Runs are forked with nearly all of it imported.
        sys.stderr.write(
            f"WORKER_RUN_AS is {user!r}, who may not enter {folder}: parts of the standard library that a run imports"
            " late will be missing.\n"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  # where it will listen
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True

"""Starts the shim: `python -m api`. Its settings are environment variables; docs/operations.md lists them."""

from __future__ import annotations

import argparse
import errno
import socket
import sys

from pydantic import ValidationError

from api.settings import ShimSettings, explain, shim_settings


def main() -> None:
    """Serves until SIGTERM or SIGINT; exits with 2 and a sentence where the settings are not usable."""
    argparse.ArgumentParser(prog="python -m api", description=__doc__).parse_args()
    try:
        settings = shim_settings()
    except ValidationError as error:
        sys.exit(_refusal(explain(error)))
    if refused := _refused_port(settings):
        sys.exit(_refusal(refused))
    serve(settings)


def _refusal(reason: str) -> int:
    print(f"The shim cannot start.\n{reason}", file=sys.stderr)  # noqa: T201  # logging is not set up yet
    return 2


def _refused_port(settings: ShimSettings) -> str | None:
    """Why its port cannot be had: asked before all that a start needs seconds for."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {settings.port} of {settings.host} is taken: end who listens there, or set another PORT."
        if error.errno == errno.EACCES:
            return f"Port {settings.port} is the system's: set a PORT from 1024 on."
    return None


def serve(settings: ShimSettings) -> None:
    # Imported late: a missing variable is told without waiting for Prefect's import.
    from api.server import run  # noqa: PLC0415

    run(settings)


if __name__ == "__main__":
    main()

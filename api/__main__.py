"""Starts the shim: `python -m api`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from api.settings import ShimSettings, explain, shim_settings


def main() -> None:
    """Serves until SIGTERM or SIGINT; exits with 2 and a sentence where the settings are not usable."""
    try:
        settings = shim_settings()
    except ValidationError as error:
        sys.exit(_refusal(error))
    serve(settings)


def _refusal(error: ValidationError) -> int:
    print(f"The shim cannot start.\n{explain(error)}", file=sys.stderr)  # noqa: T201  # logging is not set up yet
    return 2


def serve(settings: ShimSettings) -> None:
    # Imported late: a missing variable is told without waiting for Prefect's import.
    from api.server import run  # noqa: PLC0415

    run(settings)


if __name__ == "__main__":
    main()

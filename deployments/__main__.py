"""`python -m deployments check` (offline) and `python -m deployments apply` (against PREFECT_API_URL)."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from deployments import apply as applying
from deployments import check as checking
from deployments.stanzas import InvalidDeploymentsError


def main() -> int:
    """0 when all is well, 1 with one line for each mistake otherwise."""
    parser = argparse.ArgumentParser(prog="python -m deployments", description=__doc__)
    parser.add_argument("action", choices=["check", "apply"])
    action = parser.parse_args().action
    try:
        mistakes = checking.mistakes()
    except InvalidDeploymentsError as error:
        mistakes = str(error).splitlines()
    if mistakes:
        print("\n".join(mistakes), file=sys.stderr)
        return 1
    if action == "check":
        print("deployments: names, entrypoints, schedules and parameters agree")
        return 0
    return _apply()


def _apply() -> int:
    try:
        asyncio.run(
            applying.apply(
                pool=os.environ.get("WORK_POOL", "stumbleable"),
                kind=os.environ.get("WORK_POOL_TYPE", "kubernetes"),
                schedules_paused=os.environ.get("SCHEDULES_PAUSED") == "1",
            )
        )
    except (InvalidDeploymentsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

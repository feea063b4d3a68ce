"""`python -m deployments check` (offline) and `python -m deployments apply` (against PREFECT_API_URL)."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from deployments.reach import PrefectUnreachable, reaching_prefect
from deployments.terminal import Terminal, complain, ended
from flows.core.prefect_yaml import InvalidDeploymentsError

_CHECKING = "checking prefect.yaml against the code"


def main() -> int:
    """0 when all is well, 1 with one line for each mistake otherwise."""
    work = {"check": _check, "apply": _apply}[_action()]
    terminal = Terminal()
    try:
        work(terminal)
    except (InvalidDeploymentsError, PrefectUnreachable) as error:
        complain(str(error))
        return 1
    finally:
        terminal.settle()
    return 0


def _action() -> str:
    parser = argparse.ArgumentParser(prog="python -m deployments", description=__doc__)
    parser.add_argument("action", choices=["check", "apply"])
    if sys.argv[1:2] == ["migrate"]:
        parser.error("migrate is a command of its own: python -m deployments.migrate")
    return str(parser.parse_args().action)


def _check(terminal: Terminal) -> None:
    with terminal.step(_CHECKING) as step:
        _refuse_mistakes()
        step.done = "deployments: names, entrypoints, schedules and parameters agree"


def _refuse_mistakes() -> None:
    # Imported late, as what follows: it takes seconds, in which something is to be seen.
    from deployments.check import mistakes  # noqa: PLC0415

    if found := mistakes():
        raise InvalidDeploymentsError("\n".join(found))


def _apply(terminal: Terminal) -> None:
    terminal.progress(_CHECKING)
    _refuse_mistakes()
    from prefect.settings import get_current_settings  # noqa: PLC0415

    from deployments.apply import apply  # noqa: PLC0415

    with reaching_prefect(get_current_settings().api.url):
        try:
            asyncio.run(
                apply(
                    pool=os.environ.get("WORK_POOL", "stumbleable"),
                    kind=os.environ.get("WORK_POOL_TYPE", "kubernetes"),
                    schedules_paused=os.environ.get("SCHEDULES_PAUSED") == "1",
                    warm=[name.strip() for name in os.environ.get("WARM_JOB_TYPES", "").split(",") if name.strip()],
                    terminal=terminal,
                )
            )
        except ValueError as error:
            raise InvalidDeploymentsError(str(error)) from error


if __name__ == "__main__":
    sys.exit(ended(main))

from __future__ import annotations

import asyncio
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from bench.figures import failure
from bench.peers.airflow import Airflow
from bench.peers.celery import Celery
from bench.peers.dagster import Dagster
from bench.peers.environment import Unavailable
from bench.peers.measuring import SIZES, Measuring
from bench.peers.ours import Ours
from bench.peers.prefect import Prefect
from bench.peers.procrastinate import Procrastinate
from bench.peers.system import System
from bench.sizes import sizes_of
from sandbox.errors import SandboxError

SYSTEMS: dict[str, Callable[[Path], System]] = {
    "ours": Ours,
    "prefect": Prefect,
    "airflow": Airflow,
    "dagster": Dagster,
    "celery": Celery,
    "procrastinate": Procrastinate,
}


async def main(name: str, arguments: list[str]) -> None:
    """Measures a system; where one beside ours cannot be, the reason is what is told of it."""
    sizes = sizes_of(arguments, SIZES)
    # Other users' processes must get through to it: the database may run as one of them.
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", ignore_cleanup_errors=True) as folder:
        system = SYSTEMS[name](Path(folder))
        try:
            async with system:
                await system.prepare()
                await Measuring(system, sizes).measure()
        except Exception as error:
            if name == "ours":
                raise
            # Whatever goes wrong with another system is said in its place, and where to look, beside it.
            traceback.print_exc()
            failure(_words(error), system=system.title)


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = " ".join(str(error).split())
    return words if isinstance(error, Unavailable | SandboxError) else f"{type(error).__name__}: {words}"


if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in SYSTEMS:
        raise SystemExit(f"python -m bench.peers NAME [runs=N ...]; NAME is one of {', '.join(SYSTEMS)}")
    asyncio.run(main(sys.argv[1], sys.argv[2:]))

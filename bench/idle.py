"""How long the whole stack takes to start, and what it needs while nothing happens: `python -m bench.idle`.

`starts=5 seconds=60`. A first start makes the database and all its tables; the others find them. The neighbours'
stand-ins belong to the start, as they do to `make up`, and are left out of what is needed: in a cluster they are other
teams'. Schedules are off.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from bench.figures import reading
from bench.processes import idle
from bench.sizes import sizes_of
from sandbox.stack import ALL_PARTS, Stack

SIZES = {"starts": 5, "seconds": 60}
GROUPS = {
    "shim": ("shim",),
    "worker, with its fork server": ("worker",),
    "Prefect server": ("prefect",),
    "all three": ("shim", "worker", "prefect"),
    "PostgreSQL, PostgREST and its gateway": ("postgres", "postgrest", "gateway"),
}
_SETTLE_SECONDS = 5


async def main(starts: int, seconds: int) -> None:
    first: list[float] = []
    again: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as name:
        for number in range(starts):
            folder = Path(name) / str(number)
            for taken in (first, again):
                began = time.monotonic()
                async with Stack(folder, ports="free", parts=ALL_PARTS) as stack:
                    taken.append(time.monotonic() - began)
                    if number == 0 and taken is again:
                        await _idle(stack, seconds)
    reading("start of the whole stack, for the first time", first, unit="s")
    reading("start of the whole stack", again, unit="s")


async def _idle(stack: Stack, seconds: int) -> None:
    await asyncio.sleep(min(_SETTLE_SECONDS, seconds))

    def pids(parts: tuple[str, ...]) -> list[int]:
        return [pid for part in parts if (pid := stack.pid(part)) is not None]

    found = await idle({name: partial(pids, parts) for name, parts in GROUPS.items()}, seconds)
    for name, (percent, _) in found.items():
        reading(f"idle, {name}: processor", percent, unit="% of a core")
    for name, (_, megabytes) in found.items():
        reading(f"idle, {name}: memory", megabytes, unit="MB")


if __name__ == "__main__":
    asyncio.run(main(**sizes_of(sys.argv[1:], SIZES)))

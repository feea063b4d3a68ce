"""One weekly digest in a process of its own, as a worker's child has it: `python -m bench.digest_run <week> [inside]`.

Prints {"peak_mb", "cpu_seconds"} when it has completed. With `inside` the mail service is in this process too.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from typing import Any

from bench.figures import peak_mb
from bench.sink import Sink


async def run(week: str, *, inside: bool) -> None:
    server = None
    if inside:
        server = await Sink().serve()
        # Before the settings are read for the first time.
        os.environ["EMAIL_SERVICE_URL"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    from flows.weekly_digest import weekly_digest  # noqa: PLC0415

    flow: Any = weekly_digest
    state = await flow(week=week, return_state=True)
    if not state.is_completed():
        raise SystemExit(f"the digest ended as {state.name}: {state.message}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"peak_mb": peak_mb(os.getpid()), "cpu_seconds": cpu}), flush=True)
    if server is not None:
        server.close()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], inside=sys.argv[2:] == ["inside"]))

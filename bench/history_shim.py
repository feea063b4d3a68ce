"""The shim without its loops: they would dispatch and end the jobs that the benchmark of history has made up."""

from __future__ import annotations

import asyncio
import sys

import uvicorn

from api.main import create_api, wrap
from api.runtime import build_runtime
from api.settings import ShimSettings


async def main(port: int) -> None:
    settings = ShimSettings()
    runtime = build_runtime(settings)
    app = wrap(create_api(runtime), settings)
    async with runtime.connected():
        await uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="warning")
        ).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

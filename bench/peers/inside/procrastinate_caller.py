"""Triggers for each file that is named on a line, several at once, and prints when it did and how long that took."""

import asyncio
import json
import sys
import time

from procrastinate_tasks import app, trivial


async def trigger(file: str) -> None:
    at, began = time.time(), time.perf_counter()
    await trivial.defer_async(file=file)
    seconds = time.perf_counter() - began
    print(json.dumps({"file": file, "at": at, "seconds": seconds}), flush=True)


async def main() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with app.open_async(), asyncio.TaskGroup() as group:
        async for line in lines:
            group.create_task(trigger(line.decode().strip()))


asyncio.run(main())

"""The limit for sending mails: a bare asyncio + httpx loop that posts recorded bodies, with no ledger and no job.

`python -m bench.bare <url> <file of bench.sink> <mails> <concurrency>` prints {"mails", "seconds", "peak_mb"}.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx

from bench.figures import peak_mb
from bench.sink import LENGTH_BYTES


def bodies(file: Path) -> Iterator[bytes]:
    with file.open("rb") as record:
        while length := record.read(LENGTH_BYTES):
            yield record.read(int.from_bytes(length))


async def post_all(url: str, left: Iterator[bytes], concurrency: int) -> int:
    """How many were queued. All connections are kept: httpx's default would open most of them anew for every call."""
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    headers = {"Content-Type": "application/json"}

    async def post_some() -> int:
        queued = 0
        for body in left:
            answer = await client.post(url, content=body, headers=headers)
            answer.raise_for_status()
            queued += bool(answer.json()["emailId"])
        return queued

    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:
        return sum(await asyncio.gather(*(post_some() for _ in range(concurrency))))


def main(url: str, file: str, mails: str, concurrency: str) -> None:
    began = time.monotonic()
    queued = asyncio.run(post_all(url, islice(bodies(Path(file)), int(mails)), int(concurrency)))
    seconds = time.monotonic() - began
    print(json.dumps({"mails": queued, "seconds": seconds, "peak_mb": peak_mb(os.getpid())}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What open streams cost, and how soon they tell: `python -m bench.streams [streams=200] [blocks=8] [triggers=64]`.

Triggers are measured in blocks, without and with so many open streams of job changes, by turns in one run; each is told
on every stream. Memory is that of the shim's process, from before the first stream. A change
counts from its row's event, a log line from the answer to the call that brought it to Prefect. No worker runs: the jobs
wait, as most do that are triggered faster than they run.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from bench.figures import exit_status, figure, memory_mb, p50, peak_mb
from bench.sizes import sizes_of
from sandbox.stack import Stack
from sandbox.state import REPOSITORY

SIZES = {"streams": 200, "blocks": 8, "triggers": 64, "events": 50}
AT_ONCE = 16
WARM_UP = 50
_PATIENCE_SECONDS = 30.0


class Bench:
    def __init__(self, stack: Stack, http: httpx.AsyncClient, sql: asyncpg.Connection[asyncpg.Record]) -> None:
        self.stack = stack
        self.http = http
        self.sql = sql

    @property
    def shim(self) -> int:
        pid = self.stack.pid("shim")
        assert pid is not None
        return pid

    async def trigger(self) -> tuple[float, dict[str, Any]]:
        """Milliseconds until the answer, and the answer."""
        began = time.perf_counter()
        answer = await self.http.post("/api/jobs/trigger", json={"jobType": "crawl_pending"})
        took = (time.perf_counter() - began) * 1000
        job: dict[str, Any] = answer.raise_for_status().json()
        return took, job

    async def block(self, triggers: int) -> tuple[list[float], list[float]]:
        """The times of so many triggers one after the other, and of as many at once; then the jobs are gone."""
        alone = [(await self.trigger())[0] for _ in range(triggers)]

        async def some() -> list[float]:
            return [(await self.trigger())[0] for _ in range(triggers // AT_ONCE)]

        together = [took for each in await asyncio.gather(*(some() for _ in range(AT_ONCE))) for took in each]
        await self.forget_jobs()
        return alone, together

    async def forget_jobs(self) -> None:
        # The one that has a run keeps it: without its row the run would be taken for one that somebody started there.
        await self.sql.execute("delete from public.scheduled_jobs where flow_run_id is null")
        await asyncio.sleep(1)

    @asynccontextmanager
    async def listeners(self, count: int) -> AsyncIterator[None]:
        """So many open streams, in a process of their own."""
        url = f"{self.stack.wiring.url('shim')}/api/jobs/stream"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.listeners", url, str(count), stdin=PIPE, stdout=PIPE, cwd=REPOSITORY
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{self.stack.token(expires_seconds=3600)}\n".encode())
            await process.stdin.drain()
            if await process.stdout.readline() != b"open\n":
                raise SystemExit("the streams cannot be opened")
            yield
        finally:
            process.stdin.close()
            output, _ = await process.communicate()
        _say(f"every stream was told {int(output)} bytes or more")

    async def told(self, path: str) -> AsyncIterator[tuple[float, str, Any]]:
        """The events of a stream: when each was read, its kind and its data."""
        async with self.http.stream("GET", path, timeout=httpx.Timeout(_PATIENCE_SECONDS)) as answer:
            kind = ""
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield time.time(), kind, json.loads(line.removeprefix("data: "))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def measure_triggers(bench: Bench, streams: int, blocks: int, triggers: int) -> list[bool]:
    """Memory and triggers with and without streams."""
    for _ in range(WARM_UP):
        await bench.trigger()
    await bench.forget_jobs()
    before = memory_mb(bench.shim)
    times: dict[bool, tuple[list[float], list[float]]] = {False: ([], []), True: ([], [])}
    more = []
    for number in range(2 * blocks):
        is_open = number % 4 in (1, 2)  # what drifts meanwhile falls on both alike
        if is_open:
            async with bench.listeners(streams):
                found = await bench.block(triggers)
                more.append(memory_mb(bench.shim) - before)
        else:
            found = await bench.block(triggers)
            await asyncio.sleep(1)
        for known, new in zip(times[is_open], found, strict=True):
            known.extend(new)
        _say(f"{'with' if is_open else 'without'} streams: alone {p50(found[0]):.2f} ms, {p50(found[1]):.2f} ms")
    peak = peak_mb(bench.shim)
    met = [figure(f"memory of {streams} open streams", ours=max(more), limit=100, unit="MB", goal="<=1", peak_mb=peak)]
    for what, with_streams, without in zip(("alone", f"{AT_ONCE} at once"), times[True], times[False], strict=True):
        met.append(
            figure(
                f"trigger {what} with {streams} open streams, p50, against none",
                ours=with_streams,
                limit=without,
                unit="ms",
                goal="<=1.1",
                peak_mb=peak,
            )
        )
    return met


async def measure_changes(bench: Bench, count: int) -> bool:
    """How soon a change is told."""
    delays: list[float] = []
    events = bench.told("/api/jobs/stream")
    await anext(events)

    async def change() -> None:
        for _ in range(count):
            await asyncio.sleep(random.uniform(0.1, 0.6))
            await bench.trigger()

    changing = asyncio.create_task(change())
    async for read_at, kind, data in events:
        if kind == "accepted":
            delays.append(read_at - datetime.fromisoformat(data["at"]).timestamp())
        if len(delays) == count:
            break
    await changing
    await bench.forget_jobs()
    _say(f"a change is told after {p50(delays):.3f} s, {max(delays):.3f} s at most")
    return figure(
        f"change told, p50 of {count}", ours=delays, limit=1, unit="s", goal="<=1", peak_mb=peak_mb(bench.shim)
    )


async def measure_lines(bench: Bench, count: int) -> bool:
    """How soon a line is told that Prefect has got."""
    job = await bench.sql.fetchrow(
        "select id, flow_run_id::text from public.scheduled_jobs where flow_run_id is not null"
    )
    assert job is not None
    flushed: dict[str, float] = {}
    url, headers = bench.stack.wiring.url("prefect"), bench.stack.wiring.prefect_headers
    events = bench.told(f"/api/jobs/{job['id']}/logs/stream")
    while (await anext(events))[1] != "ready":
        pass

    async def log() -> None:
        async with httpx.AsyncClient(trust_env=False, headers=headers) as prefect:
            for number in range(count):
                await asyncio.sleep(random.uniform(0.3, 1.3))
                line = {"name": "bench", "level": 20, "message": str(number), "flow_run_id": job["flow_run_id"]}
                body = [{**line, "timestamp": datetime.now(UTC).isoformat()}]
                (await prefect.post(f"{url}/logs/", json=body)).raise_for_status()
                flushed[str(number)] = time.time()

    logging = asyncio.create_task(log())
    read: dict[str, float] = {}
    async for read_at, kind, data in events:
        if kind == "log":
            read[data["message"]] = read_at
        if len(read) >= count:
            break
    await logging
    delays = [read[line] - at for line, at in flushed.items()]
    _say(f"a line is told after {p50(delays):.3f} s, {max(delays):.3f} s at most")
    return figure(
        f"log line told after its flush, p50 of {count}",
        ours=delays,
        limit=2,
        unit="s",
        goal="<=1",
        peak_mb=peak_mb(bench.shim),
    )


async def main(streams: int, blocks: int, triggers: int, events: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-streams-") as folder:
        settings = {"RATE_LIMIT_PER_MINUTE": "0"}
        async with Stack(Path(folder) / "stack", ports="free", settings=settings) as stack:
            await stack.stop("worker")
            headers = {"Authorization": f"Bearer {stack.token(expires_seconds=36_000)}"}
            async with httpx.AsyncClient(
                base_url=stack.wiring.url("shim"), headers=headers, trust_env=False, timeout=20
            ) as http:
                sql = await asyncpg.connect(stack.wiring.database_url)
                bench = Bench(stack, http, sql)
                await _until_ready(bench)
                met = await measure_triggers(bench, streams, blocks, triggers)
                met += [await measure_changes(bench, events), await measure_lines(bench, events)]
                await sql.close()
                return all(met)


async def _until_ready(bench: Bench) -> None:
    """Returns when the shim knows the parameters of the job types and has dispatched a job."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    asked = {"jobType": "crawl_pending"}
    while (answer := await bench.http.post("/api/jobs/trigger", json=asked)).status_code != httpx.codes.ACCEPTED:
        _give_up_after(deadline)
        await asyncio.sleep(0.5)
    while (await bench.http.get(answer.headers["location"])).json()["flowRunId"] is None:
        _give_up_after(deadline)
        await asyncio.sleep(0.5)


def _give_up_after(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise SystemExit("the shim is not ready")


if __name__ == "__main__":
    sys.exit(exit_status(met=asyncio.run(main(**sizes_of(sys.argv[1:], SIZES)))))

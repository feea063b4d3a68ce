"""How fast a weekly digest is sent, and what it needs: `python -m bench.digest [users=100000] [big=1000000]`.

The limit is a bare asyncio + httpx loop that posts the same bodies to the same sink, at the same concurrency and at the
one that suits it best; its rate does not depend on how many they are, so that the first `bare` of them do. Ours is the
whole job, from its lease to its end: candidates, planning, the choice for every reader, ledger and all. The `big` run
and what it is compared with have the sink in the flow's own process; big=0 leaves them out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from bench.figures import exit_status, figure
from sandbox import seed
from sandbox.parts import dying_with_us
from sandbox.stack import Stack
from sandbox.state import REPOSITORY

PARTS = ("postgres", "postgrest", "gateway", "prefect", "discovery")
CONCURRENCY = 200  # the default of EMAIL_SEND_CONCURRENCY
# httpx looks through all its connections for each call: with few it is several times as fast as with many.
BARE_AT_ITS_BEST = 10
_JOB = """
select status, error, result, extract(epoch from completed_at - started_at)::float8 as seconds
  from public.scheduled_jobs where parameters ->> 'week' = $1
"""
_LEDGER = """
select count(*) filter (where status = 'sent') as sent, count(distinct user_id) filter (where status = 'sent') as users,
    count(*) as planned, extract(epoch from max(settled_at) - min(first_claimed_at))::float8 as seconds
  from public.email_deliveries where period = $1
"""


@dataclass(frozen=True)
class Told:
    """A digest: its whole time, that from the first claim to the last answer, and the process's memory and work."""

    mails: int
    seconds: float
    sending_seconds: float
    peak_mb: float
    cpu_seconds: float


class Bench:
    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self._readers = 0

    async def readers(self, count: int) -> None:
        """Makes readers until there are so many."""
        began = time.monotonic()
        connection = await asyncpg.connect(f"{self.stack.wiring.owner_url}/site")
        try:
            # Without the foreign keys' triggers: it is a matter of minutes with a million.
            await connection.execute("set session_replication_role = replica")
            await seed.seed_readers(connection, count, first=self._readers + 1)
            await connection.execute("checkpoint")
        finally:
            await connection.close()
        self._readers = count
        _say(f"{count} readers after {time.monotonic() - began:.0f} s")

    async def run(self, week: str, *arguments: str, **settings: str) -> Told:
        """One digest of a week, which everybody gets. Fails where anybody got none, or two."""
        environment = {**self.stack.wiring.base_environment(), **self.stack.wiring.flow_environment(), **settings}
        environment |= {"EMAIL_SEND_CONCURRENCY": str(CONCURRENCY)}
        told = await _last_line(["bench.digest_run", week, *arguments], environment, self.folder / f"{week}.log")
        connection = await asyncpg.connect(self.stack.wiring.database_url)
        try:
            job = await connection.fetchrow(_JOB, week)
            ledger = await connection.fetchrow(_LEDGER, week)
        finally:
            await connection.close()
        assert job is not None
        assert ledger is not None
        if job["status"] != "completed" or not ledger["sent"] == ledger["users"] == ledger["planned"] == self._readers:
            raise SystemExit(f"the digest {week} is {dict(job)}, its ledger {dict(ledger)}")
        return Told(ledger["sent"], job["seconds"], ledger["seconds"], told["peak_mb"], told["cpu_seconds"])


@asynccontextmanager
async def sink(folder: Path, *arguments: str) -> AsyncIterator[str]:
    """A sink in a process of its own; its address."""
    process = await _start(["bench.sink", *arguments], None, folder / "sink.log")
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def _last_line(arguments: list[str], environment: Mapping[str, str] | None, log: Path) -> dict[str, Any]:
    process = await _start(arguments, environment, log)
    output, _ = await process.communicate()
    if process.returncode != 0:
        said = await asyncio.to_thread(log.read_text)
        raise SystemExit(f"{' '.join(arguments)} failed:\n{output.decode()[-2000:]}\n{said[-3000:]}")
    told: dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])
    return told


async def _start(arguments: list[str], environment: Mapping[str, str] | None, log: Path) -> Process:
    command = dying_with_us([sys.executable, "-m", *arguments])
    with log.open("ab") as errors:
        return await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=REPOSITORY, stdout=PIPE, stderr=errors
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _against_bare(bench: Bench, users: int, bare: int) -> list[bool]:
    """The digest and the bare loops, one after the other, each with a fresh sink."""
    record = bench.folder / "bodies"
    async with sink(bench.folder, "--record", str(record)) as url:
        ours = await bench.run("2026-W10", EMAIL_SERVICE_URL=url)
        async with httpx.AsyncClient(trust_env=False) as http:
            told = (await http.get(f"{url}/told")).json()
    if told != {"mails": users, "users": users}:
        raise SystemExit(f"the sink has had {told}, not one mail for each of {users} users")
    _say(f"ours: {ours}")
    met = []
    for concurrency in (CONCURRENCY, BARE_AT_ITS_BEST):
        limit = await _bare(bench, record, min(users, bare), concurrency)
        words = f"digest of {users} users against bare httpx, {concurrency} at once"
        for part, seconds, goal in (
            ("whole job", ours.seconds, ">=1"),
            ("from the first claim to the last answer", ours.sending_seconds, ""),
        ):
            met.append(
                figure(
                    f"{words}: {part}",
                    ours=users / seconds,
                    limit=limit,
                    unit="mails/s",
                    goal=goal,
                    peak_mb=ours.peak_mb,
                )
            )
    record.unlink()
    return met


async def _bare(bench: Bench, record: Path, mails: int, concurrency: int) -> float:
    """Mails a second of the bare loop."""
    again = bench.folder / "again"
    async with sink(bench.folder, "--record", str(again)) as url:
        arguments = [f"{url}/api/send", str(record), str(mails), str(concurrency)]
        told = await _last_line(["bench.bare", *arguments], None, bench.folder / "bare.log")
    again.unlink()
    _say(f"bare, {concurrency} at once: {told}")
    if told["mails"] != mails:
        raise SystemExit(f"the bare loop has posted {told['mails']} mails, not {mails}")
    return mails / float(told["seconds"])


async def _memory(bench: Bench, users: int, big: int) -> list[bool]:
    small = await bench.run("2026-W11", "inside")
    _say(f"sink inside, {users} users: {small}")
    await bench.readers(big)
    large = await bench.run("2026-W12", "inside")
    _say(f"sink inside, {big} users: {large}")
    words = f"digest of {big} users against {users}, the sink inside"
    return [
        figure(
            f"{words}: peak memory",
            ours=large.peak_mb,
            limit=small.peak_mb,
            unit="MB",
            goal="<=1.2",
            peak_mb=large.peak_mb,
        ),
        figure(
            f"{words}: rate of the whole job",
            ours=big / large.seconds,
            limit=users / small.seconds,
            unit="mails/s",
            goal="",
            peak_mb=large.peak_mb,
        ),
    ]


async def main(users: int = 100_000, big: int = 1_000_000, bare: int = 20_000) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-digest-") as name:
        folder = Path(name)
        async with Stack(folder / "stack", ports="free", parts=PARTS) as stack:
            bench = Bench(stack, folder)
            await bench.readers(users)
            met = await _against_bare(bench, users, bare)
            if big:
                met += await _memory(bench, users, big)
            return all(met)


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    sys.exit(exit_status(met=asyncio.run(main(**{name: int(value) for name, value in given.items()}))))

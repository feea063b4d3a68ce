"""Whether reading history costs the same with ten million jobs as with ten thousand.

`python -m bench.history` (`rows=10000000 rounds=10 small=10000`). Two databases beside each other, each behind its own
PostgREST and shim; they are asked in turns, so that whatever else the machine does slows both. A million jobs and more
are kept in the cache of this machine for the next time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from api.cursors import Cursors, Position
from bench.cache import cache_folder
from bench.figures import Measured, exit_status, figure, peak_mb
from bench.sizes import sizes_of
from sandbox.stack import DATABASE_PARTS, Stack
from sandbox.state import REPOSITORY
from sandbox.steps import SITE_SCHEMA

SIZES = {"rows": 10_000_000, "rounds": 10, "small": 10_000}
A_ROUND = 20
KEPT_FROM = 1_000_000
FILLED = ".filled"
MIGRATIONS = "supabase/migrations"
FILLED_AT_ONCE = 500_000
GOAL = "<=1.5"
ISSUER = "https://clerk.bench"
CURSOR_SECRET = "signs the cursors of this benchmark"
USER = "md5('user7')::uuid::text"

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Side:
    """One database, its shim, and what is asked of it: name of the question to its URLs."""

    stack: Stack
    sql: asyncpg.Connection[asyncpg.Record]
    http: httpx.AsyncClient
    shim: str
    asked: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def fill(self, rows: int) -> None:
        began = time.monotonic()
        await self.sql.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
        await self.sql.execute("select bench.empty_jobs()")
        for first in range(1, rows + 1, FILLED_AT_ONCE):
            last = min(first + FILLED_AT_ONCE - 1, rows)
            await self.sql.execute(f"select bench.add_jobs({first}, {last}, {rows})")
        say(f"{rows} rows after {time.monotonic() - began:.0f} s")
        await self.sql.execute("select bench.seal_jobs()")
        say(f"indexes after {time.monotonic() - began:.0f} s")
        counting = time.monotonic()
        await self.sql.execute("select public.recount_job_stats()")
        say(f"counted in {time.monotonic() - counting:.0f} s")
        await self.sql.execute("vacuum (analyze) public.scheduled_jobs")
        await self.sql.execute("vacuum (analyze) public.job_stats_daily")
        owner = await asyncpg.connect(f"{self.stack.wiring.owner_url}/postgres")
        try:
            await owner.execute("checkpoint")
        finally:
            await owner.close()
        size = await self.sql.fetchval("select pg_size_pretty(pg_total_relation_size('public.scheduled_jobs'))")
        say(f"ready after {time.monotonic() - began:.0f} s, {size}")

    async def prepare(self) -> None:
        """The questions: the same pages, as full at each size, of whatever jobs there are."""
        user = await self.sql.fetchval(f"select {USER}")
        old = await self.sql.fetchrow(
            "select id, created_at from public.scheduled_jobs where created_at < now() - interval '60 days'"
            " order by created_at desc limit 1"
        )
        assert old is not None
        ids = await self.sql.fetch(
            "select (select id from public.scheduled_jobs where created_at >= t order by created_at limit 1) as id"
            " from (select now() - interval '90 days' * random() as t from generate_series(1, 200)) r"
        )
        jobs = f"{self.shim}/api/jobs"
        day = f"from={iso(old['created_at'])}&to={iso(old['created_at'] + timedelta(days=1))}"
        lists = {
            "list": "",
            "list by type": "type=crawl_pending",
            "list by status": "status=failed",
            "list of all that ended": "status=completed&status=failed&status=cancelled",
            "list by type and status": "type=crawl_pending&type=update_metrics&status=completed",
            "list by type and a rare status": "type=crawl_pending&status=failed&limit=5",
            "list with three matches": "type=weekly_digest&status=cancelled",
            "list without a match": "type=moderation_updates&status=cancelled",
            "list of what waits": "status=pending",
            "list by user": f"startedBy={user}",
            "list by user, type and status": f"startedBy={user}&type=crawl_pending&status=completed&limit=20",
            "list by user without a match": f"startedBy={user}&type=moderation_updates&status=cancelled",
            "list of a day": day,
            "list of a day by type": f"{day}&type=crawl_pending&limit=10",
            "list, page 199": "page=199",
            "list by status, page 190": "status=completed&page=190",
            "list by user, page 3": f"startedBy={user}&page=3",
            "list by cursor": f"cursor={cursor(old['created_at'], old['id'], {})}",
            "list by type and cursor": "type=crawl_pending"
            f"&cursor={cursor(old['created_at'], old['id'], {'types': ['crawl_pending']})}",
        }
        self.asked = {name: [f"{jobs}?{query}"] for name, query in lists.items()}
        self.asked["get"] = [f"{jobs}/{row['id']}" for row in ids]
        self.asked["stats"] = [f"{jobs}/stats"]
        self.asked["stats of a year"] = [f"{jobs}/stats?days=365"]
        self.asked["job types"] = [f"{self.stack.wiring.supabase_url}/rest/v1/rpc/job_types_overview"]

    async def until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                (await self.http.get(f"{self.shim}/health")).raise_for_status()
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def ask(self, name: str, times: int, *, kept: bool = True) -> None:
        urls = self.asked[name]
        taken = self.seconds.setdefault(name, [])
        for number in range(times):
            url = urls[(len(taken) + number) % len(urls)]
            began = time.perf_counter()
            if "/rpc/" in url:
                key = self.stack.wiring.service_key
                headers = {"apikey": key, "Authorization": f"Bearer {key}"}
                answer = await self.http.post(url, json={}, headers=headers)
            else:
                answer = await self.http.get(url, headers={"Authorization": f"Bearer {token()}"})
            seconds = time.perf_counter() - began
            answer.raise_for_status()
            if kept:
                taken.append(seconds)


def iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def cursor(created_at: datetime, job_id: UUID, filters: dict[str, list[str]]) -> str:
    return Cursors(CURSOR_SECRET).encode(Position(created_at, str(job_id), 2), filters)


def token() -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "user_bench",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "metadata": {"role": "admin"},
    }
    return jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "bench"})


def kept_folder(rows: int) -> Path:
    """Where so many jobs are kept for the next time: filling takes longer than asking. Tables that changed are new."""
    made_of = [SITE_SCHEMA, Path(__file__).with_suffix(".sql"), *sorted((REPOSITORY / MIGRATIONS).glob("*.sql"))]
    state = hashlib.sha256(b"".join(file.read_bytes() for file in made_of)).hexdigest()[:12]
    folders = cache_folder() / "history"
    wanted = folders / f"{rows}-{state}"
    for folder in folders.glob(f"{rows}-*"):
        if folder != wanted or not (folder / FILLED).exists():
            shutil.rmtree(folder, ignore_errors=True)
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


@asynccontextmanager
async def side(folder: Path, rows: int) -> AsyncIterator[Side]:
    """A filled database with its shim."""
    async with Stack(folder, ports="free", parts=DATABASE_PARTS) as stack, httpx.AsyncClient(timeout=60) as http:
        sql = await asyncpg.connect(stack.wiring.database_url, command_timeout=3600)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        environment = {
            "SUPABASE_URL": stack.wiring.supabase_url,
            "SUPABASE_SERVICE_KEY": stack.wiring.service_key,
            "USER_SERVICE_URL": "http://127.0.0.1:9",
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
            "CLERK_SECRET_KEY": "sk_bench_0123456789",
            "CLERK_ISSUER": ISSUER,
            "CLERK_JWT_KEY": pem.decode(),
            "CURSOR_SECRET": CURSOR_SECRET,
        }
        shim = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.history_shim", str(port), env={**os.environ, **environment}
        )
        try:
            made = Side(stack, sql, http, f"http://127.0.0.1:{port}")
            if not (filled := folder / FILLED).exists():
                await made.fill(rows)
                filled.touch()
            await made.prepare()
            await made.until_ready()
            yield made
        finally:
            shim.terminate()
            await shim.wait()
            await sql.close()


async def main(rows: int, rounds: int, small: int) -> bool:
    async with AsyncExitStack() as open_sides:
        folder = Path(open_sides.enter_context(tempfile.TemporaryDirectory(prefix="bench-history-")))
        few = await open_sides.enter_async_context(side(folder / "small", small))
        where = kept_folder(rows) if rows >= KEPT_FROM else folder / "large"
        many = await open_sides.enter_async_context(side(where, rows))
        for name in few.asked:
            for one in (few, many):
                await one.ask(name, A_ROUND, kept=False)
        for number in range(rounds):
            for name in few.asked:
                for one in (few, many) if number % 2 else (many, few):
                    await one.ask(name, A_ROUND)
        return all(list(figures(few, many, f"{rows} jobs against {small}")))


def figures(few: Side, many: Side, sizes: str) -> Iterator[bool]:
    for name in few.asked:
        ours, limit = ([seconds * 1000 for seconds in one.seconds[name]] for one in (many, few))
        yield _figure(f"{name}, p50 of {sizes}", ours, limit)
        yield _figure(f"{name}, p95 of {sizes}", p95(ours), p95(limit))


def _figure(name: str, ours: Measured, limit: Measured) -> bool:
    return figure(name, ours=ours, limit=limit, unit="ms", goal=GOAL, peak_mb=peak_mb(os.getpid()))


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(met=asyncio.run(main(**sizes_of(sys.argv[1:], SIZES)))))

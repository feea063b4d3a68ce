"""The three mail services a digest may meet, what happens to it, and what must have become of every mail."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.table import Table, say
from tests.chaos_digest.counts import Counts, count
from tests.chaos_digest.lanes import JOBS_A_LANE, LANES, Lanes

KILLS = 20
SHARE_DROPPED = 0.02
SEND_CONCURRENCY = 200
# The last kill comes while there is still something to send.
LAST_KILL = 0.95
# Half of the default: what has no answer is settled after twice of it. Everything else has production's timing.
_TIMEOUT_SECONDS = 15
_CASE_SECONDS = 1700.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Case:
    """`may_be_unknown`: where nobody can tell whether a mail was queued, it is reported instead of sent again.

    `may_be_given_up`: a mail is handed over three times at most, and all three answers may be lost.
    """

    name: str
    summary: str
    settings: dict[str, str] = field(default_factory=dict)
    may_be_unknown: bool = False
    may_be_given_up: bool = False


CASES = (
    Case(
        "idempotent",
        "The mail service honours Idempotency-Key; its queue cannot be read, so that everything rests on the key",
        {"EMAIL_HONOURS_IDEMPOTENCY": "1", "EMAIL_QUEUE_READABLE": "false"},
        may_be_given_up=True,
    ),
    Case("readable", "The mail service queues a mail for every call; its queue tells what it has"),
    Case(
        "unreadable",
        "The mail service queues a mail for every call, and nobody can tell which",
        {"EMAIL_QUEUE_READABLE": "false"},
        may_be_unknown=True,
    ),
)


async def play_all(cases: Sequence[Case], folder: Path, seed: int, users: int) -> Table:
    """The table of what held. The cases run side by side: most of their time they wait for leases to die."""
    table = Table()
    await asyncio.gather(*(_play(case, folder, seed, users, table) for case in cases))
    return table


async def _play(case: Case, folder: Path, seed: int, users: int, table: Table) -> None:
    say(f"{case.name}: {case.summary}")
    try:
        async with asyncio.timeout(_CASE_SECONDS):
            await _run(case, folder, seed, users, table)
    except TimeoutError:
        table.failed(f"{case.name}: every mail", f"not done within {_CASE_SECONDS:g} s")
    except Exception:  # noqa: BLE001  # a case that cannot be played is a failure, and no reason to stop the others
        table.failed(f"{case.name}: every mail", f"the case could not be played\n{traceback.format_exc()}")


async def _run(case: Case, folder: Path, seed: int, users: int, table: Table) -> None:
    settings = {
        "EMAIL_TIMEOUT_SECONDS": str(_TIMEOUT_SECONDS),
        "EMAIL_SEND_CONCURRENCY": str(SEND_CONCURRENCY),
        "EMAIL_DRAIN_PER_MINUTE": "0",
        **case.settings,
    }
    async with Lanes(case.name, folder, settings) as lanes:
        await lanes.seed(users)
        await lanes.drop_answers(SHARE_DROPPED, seed)
        await lanes.trigger()
        began = time.monotonic()
        await _kill_all(lanes, random.Random(f"{seed} {case.name}"), users)
        say(f"{case.name}: {KILLS} kills after {time.monotonic() - began:.0f} s, nothing more is done to it")
        await lanes.over()
        say(f"{case.name}: over after {time.monotonic() - began:.0f} s")
        await _judge(case, lanes, await count(lanes), table, users)


async def _kill_all(lanes: Lanes, chance: random.Random, users: int) -> None:
    """Kills when the mail service has accepted a random number of mails, so that the digest goes on all the time."""
    for moment in sorted(chance.sample(range(1, int(users * LAST_KILL)), KILLS)):
        while (mails := await lanes.value("select count(*) from public.email_queue")) < moment:
            assert await lanes.is_anything_left(), f"nothing is left to be killed after {len(lanes.kills)} kills"
            await asyncio.sleep(_LOOK_SECONDS)
        killed = None
        while killed is None:
            killed = await lanes.kill(chance)
        say(f"{lanes.name}: kill {len(lanes.kills)} after {mails} mails ({killed})")


async def _judge(case: Case, lanes: Lanes, found: Counts, table: Table, users: int) -> None:
    dropped = await lanes.dropped()
    say(f"{case.name}: {dropped} answers dropped; {found}")

    async def every_mail() -> None:
        assert found.duplicates == 0, f"{found.duplicates} users were mailed twice or more"
        assert found.planned_or_sending == 0, f"{found.planned_or_sending} mails are neither sent nor given up"
        assert found.ledger == users, f"the ledger has {found.ledger} mails for {users} users"
        assert found.sent + found.unknown + found.given_up == users, "mails are skipped or failed"
        assert found.missing_though_sent == 0, (
            f"{found.missing_though_sent} mails are called sent and were never queued"
        )
        missing = found.missing - found.missing_unknown
        assert missing == 0, f"{missing} users got no mail, and the ledger does not say that it may be so"

    async def unknown() -> None:
        bound = KILLS * SEND_CONCURRENCY + dropped if case.may_be_unknown else 0
        assert found.unknown <= bound, f"{found.unknown} mails are unknown, more than {bound}"
        assert not found.unknown_without_reason, f"{found.unknown_without_reason} of the unknown do not say why"
        assert found.told_unknown == found.unknown, f"the last job tells of {found.told_unknown} unknown"
        listed = found.errors_listed + found.errors_truncated
        assert listed == found.unknown + found.given_up, f"its errors list {listed}"
        assert found.given_up == 0 or case.may_be_given_up, f"{found.given_up} mails are given up"

    async def by_itself() -> None:
        assert len(lanes.kills) == KILLS
        jobs = await lanes.query("select id::text, origin, status, died, error from public.scheduled_jobs")
        dead = {job["id"] for job in jobs if job["died"]}
        assert dead >= set(lanes.kills), f"killed and not dead: {set(lanes.kills) - dead}"
        origins = Counter(job["origin"] for job in jobs)
        assert origins == {"dashboard": len(LANES) * JOBS_A_LANE, "recovery": len(dead)}, f"jobs by origin: {origins}"
        failed = [job for job in jobs if job["status"] != "completed" and not job["died"]]
        assert not failed, f"jobs that ended badly by themselves: {failed[:5]}"

    await table.attempt(f"{case.name}: every user is mailed once", every_mail())
    await table.attempt(f"{case.name}: what is unknown is bounded and listed", unknown())
    await table.attempt(f"{case.name}: all of it is done by the scheduler itself", by_itself())

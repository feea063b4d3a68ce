"""What must be true after every step, told from the rows as they are; and that the rows are as the model has them."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from tests.database.machine.driver import Driver
from tests.database.machine.rows import ENDED, Job

RANKS = {"pending": 0, "running": 1, **dict.fromkeys(ENDED, 2)}
# A schedule's own decisions; every other cancel was asked for by somebody.
NOT_RUN = ("skipped: ", "disabled: ", "superseded: ")
MOST_RECOVERIES = 3


class Invariants:
    """Remembers every row as it was seen last, to know what has moved and where it must not."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._before: dict[str, dict[str, Any]] = {}

    def check(self) -> None:
        seen = self._driver.db.look()
        rows = {row["id"]: row for row in seen["jobs"]}
        self._only_forward(rows)
        self._one_holder_a_key(rows)
        self._tried_again_in_bounds(rows)
        for row in rows.values():
            _consistent(row)
            _told(row, seen["events"].get(row["id"]))
        self._as_the_model_has_them(rows)
        self._audited(seen["audit"])
        self._cancelled_because_asked(rows)
        self._over_time_only_when_it_was(rows)
        self._in_one_hand(seen)
        self._before = rows

    def _only_forward(self, rows: dict[str, dict[str, Any]]) -> None:
        assert self._before.keys() <= rows.keys(), "a row is gone"
        for before in self._before.values():
            now = rows[before["id"]]
            assert (before["fence"] or 0) <= (now["fence"] or 0), f"the fence fell: {now}"
            if before["status"] in ENDED:
                for name in ("status", "error", "result", "completed_at", "died"):
                    assert now[name] == before[name], f"{name} of an ended row has changed: {now}"
            assert RANKS[before["status"]] <= RANKS[now["status"]], f"{before['status']} became {now['status']}"

    def _one_holder_a_key(self, rows: dict[str, dict[str, Any]]) -> None:
        for name, holders in (
            ("slots", [row for row in rows.values() if row["slot_held"]]),
            ("running jobs", [row for row in rows.values() if row["status"] == "running"]),
        ):
            keys = Counter(row["exclusive_key"] for row in holders if row["exclusive_key"] is not None)
            assert all(count == 1 for count in keys.values()), f"{name} of one key: {keys}"

    def _tried_again_in_bounds(self, rows: dict[str, dict[str, Any]]) -> None:
        tried = Counter(row["retry_of"] for row in rows.values() if row["origin"] in ("dashboard", "recovery"))
        assert all(count == 1 for first, count in tried.items() if first is not None), f"tried again twice: {tried}"
        for row in rows.values():
            chain = 0
            link = row
            while link["origin"] == "recovery":
                chain, link = chain + 1, rows[link["retry_of"]]
                assert link["died"], f"recovered, and had not died: {link}"
            assert chain <= MOST_RECOVERIES, f"recovered {chain} times in a row: {row}"

    def _as_the_model_has_them(self, rows: dict[str, dict[str, Any]]) -> None:
        jobs = self._driver.rows.jobs
        assert rows.keys() == {str(job) for job in jobs}
        for job in jobs.values():
            row, wanted = rows[str(job.id)], _wanted(job)
            wrong = {name: (row[name], value) for name, value in wanted.items() if row[name] != value}
            assert not wrong, f"{job} is not as the model has it: {wrong}"
            assert (row["recover_at"] is None, row["lease_note"] is None) == (job.recover_at is None, not job.given_up)

    def _audited(self, entries: list[list[Any]]) -> None:
        found = {(actor, action, UUID(job), outcome): count for actor, action, job, outcome, count in entries}
        assert found == dict(self._driver.rows.audit)

    def _cancelled_because_asked(self, rows: dict[str, dict[str, Any]]) -> None:
        for job in self._driver.rows.jobs.values():
            row = rows[str(job.id)]
            if row["status"] == "cancelled":
                asked = job in self._driver.asked_to_stop
                assert asked or row["error"].startswith(NOT_RUN), f"nobody has asked for the end of {job}: {row}"

    def _over_time_only_when_it_was(self, rows: dict[str, dict[str, Any]]) -> None:
        for process in self._driver.outside.processes:
            job = process.job
            if job is None or job.worker != process.name or job.overtime_at is None:
                continue
            if (rows[str(job.id)]["error"] or "").startswith("ran longer"):
                assert process.last_alive_at >= job.overtime_at, f"{process} had died before the time of {job} was over"

    def _in_one_hand(self, seen: dict[str, Any]) -> None:
        """No discovery is in the hands of two living processes, and what a living one believes is so."""
        driver = self._driver
        assert seen["pages"] == {str(page): status for page, status in driver.crawl.pages.items()}
        claims = {UUID(page): (UUID(job), fence) for page, job, fence in seen["claims"]}
        hands = Counter(driver.hands())
        assert all(count == 1 for count in hands.values()), f"in the hands of more than one: {hands}"
        for process in driver.outside.processes:
            if process.job is not None and driver.acts(process):
                for page in process.held:
                    assert claims.get(page) == (process.job.id, process.fence), f"{process} holds {page} no more"
        lasting = {page: (c.job.id, c.fence) for page, c in driver.crawl.claims.items() if driver.crawl.holds(c)}
        assert claims == lasting


def _wanted(job: Job) -> dict[str, Any]:
    """What the columns hold when the row is as the model has it."""
    return {
        "status": job.status,
        "origin": job.origin,
        "exclusive_key": job.key,
        "priority": job.priority,
        "flow_run_id": str(job.run) if job.run else None,
        "run_open": job.run_open,
        "attempt": job.attempt,
        "dispatches": job.dispatches or None,
        "slot_held": True if job.slot else None,
        "fence": job.fence or None,
        "locked_by": job.worker,
        "died": True if job.died else None,
        "recoveries": job.recoveries or None,
        "retry_of": str(job.retry_of) if job.retry_of else None,
    }


def _consistent(row: dict[str, Any]) -> None:
    """What the columns of one row say together."""
    ended = row["status"] in ENDED
    if ended:
        assert row["slot_held"] is None, f"an ended job holds a slot: {row}"
        assert row["completed_at"] is not None, row
        assert row["result"]["success"] is (row["status"] == "completed"), row
    else:
        assert (row["completed_at"], row["result"], row["died"]) == (None, None, None), row
        if row["status"] == "running":
            assert row["slot_held"] is (True if row["exclusive_key"] else None), f"running without its slot: {row}"
            assert None not in (row["fence"], row["locked_at"], row["locked_by"], row["flow_run_id"]), row
    if row["status"] == "cancelled" and row["cancel_requested_at"] is not None:
        assert row["cancel_stopped_at"] is not None, f"a cancelled job that has not stopped: {row}"
        assert row["cancel_items_done"] is not None, row
    if row["status"] != "cancelled":
        assert row["cancel_stopped_at"] is None, row
    if row["recover_at"] is not None:
        assert row["died"], f"to be recovered, and has not died: {row}"
    if (row["died"], row["status"]) not in ((None, row["status"]), (True, "failed")):
        raise AssertionError(f"died, and is not failed: {row}")


def _told(row: dict[str, Any], statuses: list[str] | None) -> None:
    """Every status has its event, in order, and the last one is the row's."""
    assert statuses, f"no event of {row}"
    assert statuses[0] == "pending"
    assert statuses[-1] == row["status"]
    ranks = [RANKS[status] for status in statuses]
    assert ranks == sorted(set(ranks)), f"events of {row['id']}: {statuses}"

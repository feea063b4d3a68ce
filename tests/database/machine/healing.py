"""Left alone, with everything up again, the system comes to rest: no row is stuck, whatever happened before."""

from __future__ import annotations

from tests.database.machine.driver import Driver
from tests.database.machine.outside import Run
from tests.database.machine.prefect import reconcile
from tests.database.machine.rows import LEASE, RECOVER_AFTER, TICK, living

# A lease dies in 9 ticks, in the grace after a gap in 18; a lease that was given up, a pause and a doubt are shorter.
_TICKS_TO_DIE = 2 * LEASE // TICK + 1
# Each round lets what is pending run; a death needs another, and what waits for its slot one for each in front.
_MOST_ROUNDS = 40


def heal(driver: Driver) -> None:
    """Everything that works by itself works; asserts that in the end nothing is left to do."""
    driver.pause(paused=False, ticks=None)
    driver.switch_schedule(enabled=True)
    _old_processes_come_to_their_end(driver)
    for _ in range(_MOST_ROUNDS):
        if _is_at_rest(driver):
            break
        _round(driver)
    _assert_at_rest(driver)


def _old_processes_come_to_their_end(driver: Driver) -> None:
    """Frozen ones never wake, the others that still have their lease complete; nobody tells of any death."""
    for process in driver.outside.processes:
        if process.can_move and process.has_lease and process.verdict is None and process.ending is None:
            driver.finish(process, "completed", heard=True)
        process.is_alive = False


def _round(driver: Driver) -> None:
    driver.recover()
    for job in driver.claim_dispatch(10):
        driver.record_dispatch(job, job.dispatches, driver.create_run(job))
    for run in list(driver.outside.runs):
        if run.state in ("scheduled", "awaiting retry"):
            _runs_to_its_end(driver, run)
        for _ in range(2):  # a doubt is settled by the second look
            reconcile(driver, run)
    jobs = driver.rows.jobs.values()
    if any(job.is_running or job.run is not None for job in living(jobs)) or driver.rows.grace_until > driver.rows.now:
        for _ in range(_TICKS_TO_DIE):
            driver.tick()
    elif any(job.not_before is not None and job.not_before > driver.rows.now for job in living(jobs)):
        driver.tick()
        driver.tick()
    elif all(job.has_ended for job in jobs) and any(job.recover_at is not None for job in jobs):
        driver.let_pass(RECOVER_AFTER[-1])


def _runs_to_its_end(driver: Driver, run: Run) -> None:
    """A fresh process that does its work, or finds that there is none."""
    process = driver.outside.begin(run)
    process.job = driver.adopt(run, process.attempt)
    driver.take(process, max_run=None, later_fire=False, heard=True)
    if process.fence is not None:
        driver.open_crawl(process)
        driver.claim(process, 10, again=False, heard=True)
        driver.call_crawler(process, does_it=True)
        driver.settle(process, answered=True, again=False)
        driver.finish(process, "completed", heard=True)
        run.set("completed")
    elif process.job.has_ended or process.job.run != run.id:
        run.set("cancelled")
    process.is_alive = False


def _is_at_rest(driver: Driver) -> bool:
    jobs, runs = driver.rows.jobs.values(), driver.outside.runs
    return (
        not living(jobs)
        and all(job.recover_at is None and not job.run_open for job in jobs)
        and all(run.has_ended or run.state == "deleted" or driver.rows.has_moved_on(run.id, run.key) for run in runs)
    )


def _assert_at_rest(driver: Driver) -> None:
    jobs = driver.rows.jobs.values()
    assert not living(jobs), f"stuck: {[(job, vars(job)) for job in living(jobs)]}"
    assert _is_at_rest(driver), f"never at rest: {[*jobs, *driver.outside.runs]}"
    seen = driver.db.look()
    assert all(row["status"] not in ("pending", "running") and not row["slot_held"] for row in seen["jobs"])
    assert seen["claims"] == [], "a claim is in living hands"

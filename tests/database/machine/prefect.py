"""What people do in Prefect, and what the reconciler then makes of a row and its flow run."""

from __future__ import annotations

from tests.database.machine.driver import Driver
from tests.database.machine.outside import Run
from tests.database.machine.rows import Job

_ENDED_AS = {"completed": "completed", "failed": "failed", "crashed": "failed", "cancelled": "cancelled"}


def reconcile(driver: Driver, run: Run) -> None:
    """Compares a flow run with its row once and does what the pair asks for."""
    job = driver.rows.latest_of(run.id)
    if job is None:
        if run.origin != "dispatch" and run.state != "deleted":
            driver.adopt(run, run.begun + 1, retry=False)
    elif job.is_pending:
        _pending(driver, job, run)
    elif job.is_running:
        _running(driver, job, run)
    else:
        _ended(driver, job, run)


def _pending(driver: Driver, job: Job, run: Run) -> None:
    if run.state == "deleted":
        assert driver.db.call("forget_flow_run", id=job.id, flow_run_id=run.id)
        assert driver.rows.forget_flow_run(job, run.id)
    elif run.has_ended:
        if run.by_hand:
            driver.asked_to_stop.add(job)
        status, died = _ENDED_AS[run.state], run.state == "crashed"
        answer = driver.db.call(
            "close_unstarted_job", id=job.id, flow_run_id=run.id, status=status, error="x", died=died
        )
        assert answer is driver.rows.close_unstarted(job, run.id, status, died=died)
    elif run.state == "cancelling":
        driver.cancel(job, "prefect")
    elif run.state == "running":
        answer = driver.db.call("give_up_unstarted", id=job.id, flow_run_id=run.id, error="never started")
        assert answer is driver.rows.give_up_unstarted(job, run.id), job


def _running(driver: Driver, job: Job, run: Run) -> None:
    if run.by_hand and not job.cancel_asked:
        driver.cancel(job, "prefect")
    if not run.has_ended:
        return
    if job.given_up and job.gone_by is None:
        driver.doubt(job)
        driver.bury_silent(job, run)
    elif job in driver.doubts:
        driver.bury_silent(job, run)
    else:
        driver.doubt(job)


def _ended(driver: Driver, job: Job, run: Run) -> None:
    if run.state == "scheduled" and not job.run_open:
        driver.adopt(run, run.begun + 1, retry=True)
        return
    if run.state != "deleted" and _ENDED_AS.get(run.state) != job.status:
        run.set("crashed" if job.died else job.status)
    driver.db.call("close_run", id=job.id, flow_run_id=run.id)
    driver.rows.close_run(job, run.id)

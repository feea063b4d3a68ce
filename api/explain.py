"""Why is a job where it is? One sentence for people, made of facts; pure, so that a table of cases can test it."""

from __future__ import annotations

from collections.abc import Callable

from api import prefect_checks, row_checks
from api.facts import Facts
from api.schemas import Check, Explanation
from api.wording import joined, moment, said
from flows.core.domain import Job, JobStatus

# In the order of a job's life.
_CHECKS: tuple[Callable[[Facts], Check | None], ...] = (
    row_checks.paused,
    row_checks.gate,
    row_checks.dispatch,
    prefect_checks.prefect,
    prefect_checks.worker,
    prefect_checks.run,
    prefect_checks.pod,
    row_checks.process,
    row_checks.cancel,
    prefect_checks.neighbour,
    row_checks.recovery,
)
# A pending job waits for the first of these that does not hold; later ones do not matter before it does.
_BEFORE_DISPATCH = ("paused", "gate", "dispatch")
_AFTER_DISPATCH = ("worker", "pod")


def explain(facts: Facts) -> Explanation:
    """The sentence, and the checks it comes from."""
    found = {made.name: made for check in _CHECKS if (made := check(facts)) is not None}
    sentence = _SENTENCES[facts.job.status](facts, found)
    return Explanation(job_id=facts.job.id, status=facts.job.status, sentence=sentence, checks=list(found.values()))


def _pending(_facts: Facts, found: dict[str, Check]) -> str:
    for name in _BEFORE_DISPATCH:
        check = found.get(name)
        if check is not None and check.ok is False:
            return check.detail
    run = found["run"]
    if run.ok is None:
        return joined("Its flow run has been created", f"What became of it is {run.detail[0].lower()}{run.detail[1:]}")
    if run.ok is False:
        return run.detail
    for name in _AFTER_DISPATCH:
        check = found.get(name)
        if check is not None and check.ok is False:
            return check.detail
    return run.detail


def _running(_facts: Facts, found: dict[str, Check]) -> str:
    return (found.get("cancel") or found["process"]).detail


def _completed(facts: Facts, _found: dict[str, Check]) -> str:
    job = facts.job
    result = job.result or {}
    items = result.get("itemsProcessed")
    errors = result.get("errors")
    done = f": {said(str(items))} items processed" if items is not None else ""
    failed = f", {len(errors)} errors reported" if isinstance(errors, list) and errors else ""
    return f"It completed{_at(job)}{done}{failed}."


def _failed(facts: Facts, found: dict[str, Check]) -> str:
    job = facts.job
    why = f" ({said(job.error)})" if job.error else ""
    return joined(f"It {'died' if job.died else 'failed'}{_at(job)}{why}", found["recovery"].detail)


def _cancelled(facts: Facts, found: dict[str, Check]) -> str:
    job = facts.job
    cancel, retry = found.get("cancel"), found.get("recovery")
    # A schedule that was skipped is cancelled too, and nobody asked for that.
    what = cancel.detail if cancel else f"It was cancelled{_at(job)}: {said(job.error) or 'no reason is kept'}."
    return joined(what, retry.detail if retry else None)


def _at(job: Job) -> str:
    return f" at {moment(job.completed_at)}" if job.completed_at else ""


_SENTENCES = {
    JobStatus.PENDING: _pending,
    JobStatus.RUNNING: _running,
    JobStatus.COMPLETED: _completed,
    JobStatus.FAILED: _failed,
    JobStatus.CANCELLED: _cancelled,
}

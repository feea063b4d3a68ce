"""What Prefect tells about why a job is where it is: pure functions, None where one does not bear on the job.

Where Prefect did not answer, `ok` is None and the detail says so.
"""

from __future__ import annotations

from api.agreement import Act, act_on
from api.facts import Asked, Facts
from api.orchestrator import RunState
from api.schemas import Check
from api.wording import duration, moment, said
from flows.core.domain import JobStatus

MISSED_HEARTBEATS = 3  # as many as Prefect waits before it calls a worker offline
WAITING_POD_SECONDS = 60

# What is done about a row and a run that disagree.
_CONSEQUENCES = {
    Act.GIVE_UP_UNSTARTED: "a worker took it on and no process has begun it yet; if none does in time, the job is dead"
    " and tried again",
    Act.DISPATCH_AGAIN: "the job is dispatched again within seconds",
    Act.CLOSE_ROW: "the job follows within seconds",
    Act.CANCEL_ROW: "somebody cancelled it there, so the job is cancelled here within seconds",
    Act.CANCEL_RUN: "Prefect is asked to cancel it as well",
    Act.DOUBT: "whether its process lives shows within seconds, by its next beat",
    Act.BURY: "the job ends within seconds",
    Act.PUT_RIGHT: "somebody changed it there, and it is put right within seconds",
    Act.END_RUN: "Prefect is made to follow the job within seconds",
    Act.RETRY: "somebody set it going again, and it becomes a job of its own within seconds",
}
_AGREEMENT = (Act.NOTHING, Act.NOTE_AGREEMENT, Act.GIVE_UP_UNSTARTED)


def prefect(facts: Facts) -> Check:
    if facts.prefect_problem is None:
        return Check(name="prefect", ok=True, detail="Prefect answers.")
    detail = f"{said(facts.prefect_problem)}."
    return Check(name="prefect", ok=False, detail=detail, since=facts.down_since)


def worker(facts: Facts) -> Check | None:
    if facts.job.status.has_ended:
        return None
    if facts.worker.problem:
        return _not_known("worker", facts, facts.worker)
    sign, pool = facts.worker.value, said(facts.pool)
    if sign is None:
        never = f"No worker of pool {pool} has ever been heard of: nothing starts until one does."
        return Check(name="worker", ok=False, detail=never)
    silence = facts.seconds_since(sign.heard_at)
    if silence <= MISSED_HEARTBEATS * sign.interval_seconds:
        heard = f"Worker {said(sign.worker)} of pool {pool} was heard of {duration(silence)} ago."
        return Check(name="worker", ok=True, detail=heard, since=sign.heard_at)
    silent = (
        f"No worker of pool {pool} has been heard of for {duration(silence)} (the last was {said(sign.worker)}):"
        " nothing starts until one is back."
    )
    return Check(name="worker", ok=False, detail=silent, since=sign.heard_at)


def run(facts: Facts) -> Check | None:
    if facts.run is None:
        return None
    if facts.run.problem:
        return _not_known("run", facts, facts.run)
    return _gone(facts) if facts.run.value is None else _known_run(facts, facts.run.value)


def _gone(facts: Facts) -> Check:
    gone = "Prefect does not have its flow run any more"
    if facts.job.status is JobStatus.PENDING:
        return Check(name="run", ok=False, detail=f"{gone}; {_CONSEQUENCES[Act.DISPATCH_AGAIN]}.")
    if facts.job.status is JobStatus.RUNNING:
        return Check(name="run", ok=False, detail=f"{gone}; its process goes on for as long as it holds its lease.")
    return Check(name="run", ok=True, detail=f"{gone}.")


def _known_run(facts: Facts, run: RunState) -> Check:
    state = run.state
    if state is None:
        return Check(name="run", ok=True, detail="Its flow run has no state yet.")
    act = act_on(facts.job, state, is_known=True)
    message = f" ({said(state.message)})" if state.message else ""
    detail = (
        f"Its flow run is {said(state.name or state.type.value)} in Prefect since {moment(state.timestamp)}{message}"
    )
    consequence = _CONSEQUENCES.get(act)
    if consequence is None and facts.job.status is JobStatus.PENDING:
        consequence = "no worker has taken it on yet"
    detail = f"{detail}; {consequence}." if consequence else f"{detail}."
    return Check(name="run", ok=act in _AGREEMENT, detail=detail, since=state.timestamp)


def pod(facts: Facts) -> Check | None:
    if facts.pod is None or facts.job.status.has_ended:
        return None
    if facts.pod.problem:
        return _not_known("pod", facts, facts.pod)
    pod = facts.pod.value
    if pod is None:
        return Check(name="pod", ok=True, detail="Kubernetes has told of no pod for it yet.")
    detail = f"Its pod {said(pod.pod)} is {said(pod.phase)} since {moment(pod.since)}"
    if pod.diagnosis:
        return Check(name="pod", ok=False, detail=f"{detail} ({said(pod.diagnosis)}).", since=pod.since)
    if pod.phase == "pending" and facts.seconds_since(pod.since) > WAITING_POD_SECONDS:
        waits = f"{detail}: it waits for a node that has room, or for its image."
        return Check(name="pod", ok=False, detail=waits, since=pod.since)
    return Check(name="pod", ok=pod.phase not in ("failed", "evicted"), detail=f"{detail}.", since=pod.since)


def neighbour(facts: Facts) -> Check | None:
    if facts.complaint is None:
        return None
    if facts.complaint.problem:
        return _not_known("neighbour", facts, facts.complaint)
    line = facts.complaint.value
    if line is None:
        return Check(name="neighbour", ok=True, detail="Its run has logged no warning and no error.")
    detail = f"The newest warning or error of its run: {said(line.message)}."
    return Check(name="neighbour", ok=False, detail=detail, since=line.at)


def _not_known(name: str, facts: Facts, asked: Asked[object]) -> Check:
    reason = facts.absence if facts.prefect_problem else said(asked.problem)
    return Check(name=name, ok=None, detail=f"Not known: {reason}.")

"""Why is a job where it is? The composition of the answer, for each situation, from facts that are made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from api.explain import explain
from api.facts import Asked, Facts
from api.orchestrator import LogLine, PodSign, RunState, WorkerSign
from api.schemas import Check
from flows.core.domain import Job, JobStatus, Origin
from flows.core.scheduled_jobs import Maintenance

NOW = datetime(2026, 11, 26, 9, 0, 0, tzinfo=UTC)
JOB = UUID("5f0c2b1e-0000-4000-8000-000000000001")
OTHER = UUID("5f0c2b1e-0000-4000-8000-000000000002")
RUN = UUID("0a7be001-52d7-4c1e-9b60-3d1f6f1c9a34")
AWAY: Asked[Any] = Asked(problem="Prefect cannot be reached (to read a run: ConnectError)")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def a_job(**columns: Any) -> Job:
    usual: dict[str, Any] = {
        "id": JOB,
        "job_type": "crawl_pending",
        "status": JobStatus.PENDING,
        "origin": Origin.DASHBOARD,
        "exclusive_key": "crawl_pending",
        "created_at": ago(600),
        "updated_at": ago(600),
    }
    return Job(**(usual | columns))


def running(**columns: Any) -> Job:
    usual: dict[str, Any] = {
        "status": JobStatus.RUNNING,
        "flow_run_id": RUN,
        "attempt": 1,
        "fence": 1,
        "slot_held": True,
        "slot_since": ago(130),
        "started_at": ago(120),
        "locked_by": "pod-1/7",
        "locked_at": ago(2),
    }
    return a_job(**(usual | columns))


def ended(status: JobStatus, **columns: Any) -> Job:
    return a_job(**({"status": status, "completed_at": ago(10), "flow_run_id": RUN, "run_open": False} | columns))


def a_run(kind: StateType, name: str | None = None, message: str | None = None, age: float = 60) -> Asked[RunState]:
    state: State[Any] = State(type=kind, name=name or kind.value.title(), timestamp=ago(age), message=message)
    return Asked(RunState(FlowRun(id=RUN, flow_id=OTHER, name="a run", state=state), state))


LIVELY: Asked[WorkerSign] = Asked(WorkerSign("worker-1", ago(12), 30))
SCHEDULED = a_run(StateType.SCHEDULED)
PAUSE = Maintenance(paused=True, reason="the database moves", set_at=ago(300))


def facts(job: Job, **more: Any) -> Facts:
    """The facts about a job that Prefect was asked about where it has a run, and that nothing is wrong with."""
    asked: dict[str, Any] = {"worker": LIVELY}
    if job.flow_run_id:
        asked |= {"run": SCHEDULED, "complaint": Asked()}
    return Facts(job=job, now=NOW, pool="stumbleable", **(asked | more))


def away(job: Job, **more: Any) -> Facts:
    """The same while Prefect does not answer anything."""
    asked = {"worker": AWAY, "down_since": ago(200)}
    if job.flow_run_id:
        asked |= {"run": AWAY, "complaint": AWAY}
    return facts(job, **(asked | more))


def check(given: Facts, name: str) -> Check | None:
    return next((one for one in explain(given).checks if one.name == name), None)


dispatched = {"flow_run_id": RUN, "slot_held": True, "slot_since": ago(30)}
holder = running(id=OTHER)

SENTENCES: list[tuple[str, Facts, str]] = [
    # before it has a flow run
    (
        "paused",
        facts(a_job(), maintenance=replace(PAUSE, until=NOW + timedelta(hours=1)), holder=holder),
        "It waits because all starts are paused until 2026-11-26T10:00:00Z (the database moves).",
    ),
    ("paused without an end", facts(a_job(), maintenance=PAUSE), "It waits because all starts are paused (the data"),
    (
        "a pause that is over",
        facts(a_job(slot_held=True), maintenance=replace(PAUSE, until=ago(1))),
        "It is being dispatched: its flow run is created within seconds.",
    ),
    (
        "gate",
        facts(a_job(pending_reason=f"waiting for job {OTHER} to end"), holder=holder, ahead=2),
        (
            f"It waits for the end of job {OTHER}, which has the slot of crawl_pending since 2026-11-26T08:57:50Z;"
            " 2 more jobs are ahead of it."
        ),
    ),
    ("gate, next in line", facts(a_job(), holder=holder), f"It waits for the end of job {OTHER}, which has the slot"),
    ("gate free, not its turn", facts(a_job(), ahead=1), "It waits for the slot of crawl_pending: 1 more job is ahead"),
    (
        "gate, and Prefect down: what comes first is told",
        away(a_job(), holder=holder),
        f"It waits for the end of job {OTHER}, which has the slot",
    ),
    (
        "Prefect down",
        away(a_job(slot_held=True)),
        "It has no flow run yet, because Prefect has not answered since 2026-11-26T08:56:40Z; it gets one as soon as",
    ),
    (
        "not deployed",
        facts(a_job(slot_held=True, pending_reason="crawl_pending is not deployed in Prefect")),
        "It has no flow run yet (crawl_pending is not deployed in Prefect); creating one is tried every few seconds.",
    ),
    (
        "of the published scheduler",
        facts(a_job(origin=None, exclusive_key=None)),
        "An earlier scheduler accepted it for a run of its own: nobody starts it, and after 6 h it is failed.",
    ),
    # its flow run waits
    (
        "no worker yet",
        facts(a_job(**dispatched)),
        "Its flow run is Scheduled in Prefect since 2026-11-26T08:59:00Z; no worker has taken it on yet.",
    ),
    (
        "never a worker",
        facts(a_job(**dispatched), worker=Asked()),
        "No worker of pool stumbleable has ever been heard of: nothing starts until one does.",
    ),
    (
        "worker gone",
        facts(a_job(**dispatched), worker=Asked(WorkerSign("worker-1", ago(600), 30))),
        "No worker of pool stumbleable has been heard of for 10 min (the last was worker-1): nothing starts until",
    ),
    (
        "taken on, not begun",
        facts(a_job(**dispatched), run=a_run(StateType.PENDING)),
        "Its flow run is Pending in Prefect since 2026-11-26T08:59:00Z; a worker took it on and no process has begun",
    ),
    (
        "pod unschedulable",
        facts(
            a_job(**dispatched),
            run=a_run(StateType.PENDING, "InfrastructurePending"),
            pod=Asked(PodSign("crawl-x7", "pending", ago(20), "Unschedulable.InsufficientResources")),
        ),
        "Its pod crawl-x7 is pending since 2026-11-26T08:59:40Z (Unschedulable.InsufficientResources).",
    ),
    (
        "pod waits without a diagnosis",
        facts(
            a_job(**dispatched),
            run=a_run(StateType.PENDING),
            pod=Asked(PodSign("crawl-x7", "pending", ago(90), None)),
        ),
        "Its pod crawl-x7 is pending since 2026-11-26T08:58:30Z: it waits for a node that has room, or for its image.",
    ),
    (
        "a young pod is no news",
        facts(
            a_job(**dispatched), run=a_run(StateType.PENDING), pod=Asked(PodSign("crawl-x7", "pending", ago(9), None))
        ),
        "Its flow run is Pending in Prefect",
    ),
    (
        "dispatched, Prefect down",
        away(a_job(**dispatched)),
        "Its flow run has been created; what became of it is not known: Prefect has not answered since 2026-11",
    ),
    (
        "its run was deleted",
        facts(a_job(**dispatched), run=Asked()),
        "Prefect does not have its flow run any more; the job is dispatched again within seconds.",
    ),
    (
        "its run ended before it began",
        facts(a_job(**dispatched), run=a_run(StateType.CRASHED, message="no such image")),
        "Its flow run is Crashed in Prefect since 2026-11-26T08:59:00Z (no such image); the job follows",
    ),
    (
        "a schedule that may find its gate held",
        facts(a_job(origin=Origin.SCHEDULE, flow_run_id=RUN), holder=holder),
        f"It is skipped if it begins before the end of job {OTHER}, which has the slot of crawl_pending since",
    ),
    # it runs
    (
        "running",
        facts(running(progress={"itemsProcessed": 40, "itemsTotal": 100, "phase": "crawling"})),
        "It runs on pod-1/7 since 2026-11-26T08:58:00Z (crawling, 40 of 100 items); its last beat was 2 s ago.",
    ),
    ("running, total unknown", facts(running(progress={"itemsProcessed": 40})), "It runs on pod-1/7 since 2026-11-26T"),
    ("running, Prefect down", away(running()), "It runs on pod-1/7 since 2026-11-26T08:58:00Z; its last beat was 2 s"),
    (
        "silent",
        facts(running(locked_at=ago(40))),
        "Nothing has been heard of pod-1/7 for 40 s: without a sign of life for 90 s the job is dead and ends.",
    ),
    (
        "over its time",
        facts(running(max_run_seconds=100)),
        "It has run 20 s longer than it may: pod-1/7 is being ended.",
    ),
    (
        "lease given up",
        facts(running(lease_note="stopped: its process was told to end.")),
        (
            "Its process has given its lease up (stopped: its process was told to end) and is ending; the job ends with"
            " it, unless another attempt of the same run takes it over first."
        ),
    ),
    (
        "lease given up, with an end",
        facts(running(lease_note="ran longer than 00:30:00", lease_ends_at=NOW + timedelta(seconds=3))),
        "Its process has given its lease up (ran longer than 00:30:00) and is ending; the job ends with it, at 2026",
    ),
    (
        "running, of the published scheduler",
        facts(running(fence=None, locked_at=None, origin=None)),
        "An earlier scheduler left it running: no process holds it, and 6 h after its start it is failed.",
    ),
    # it ended
    (
        "completed",
        facts(ended(JobStatus.COMPLETED, result={"itemsProcessed": 12, "errors": ["a", "b"]})),
        "It completed at 2026-11-26T08:59:50Z: 12 items processed, 2 errors reported.",
    ),
    (
        "completed long ago, with another kind of result",
        facts(a_job(status=JobStatus.COMPLETED, origin=None)),
        "It completed.",
    ),
    (
        "failed by its own error",
        facts(ended(JobStatus.FAILED, error="none of 3 items succeeded")),
        (
            "It failed at 2026-11-26T08:59:50Z (none of 3 items succeeded); it is not tried again by itself, because it"
            " failed by its own error."
        ),
    ),
    (
        "died",
        facts(
            ended(
                JobStatus.FAILED, died=True, error="lease lost: no sign of life", recover_at=NOW + timedelta(minutes=2)
            )
        ),
        "It died at 2026-11-26T08:59:50Z (lease lost: no sign of life); it is tried again at 2026-11-26T09:02:00Z",
    ),
    (
        "died, due",
        facts(ended(JobStatus.FAILED, died=True, recover_at=ago(1))),
        "It died at 2026-11-26T08:59:50Z; it is tried again now, as a new job.",
    ),
    (
        "died, and was tried again",
        facts(ended(JobStatus.FAILED, died=True), retry=OTHER),
        f"It died at 2026-11-26T08:59:50Z; job {OTHER} tries it again.",
    ),
    (
        "died four times",
        facts(ended(JobStatus.FAILED, died=True, recoveries=3)),
        "It died at 2026-11-26T08:59:50Z; it is not tried again by itself, because it was try number 4.",
    ),
    (
        "died, a shard",
        facts(ended(JobStatus.FAILED, died=True, parent_id=OTHER)),
        "It died at 2026-11-26T08:59:50Z; it is",
    ),
    (
        "died, by hand",
        facts(ended(JobStatus.FAILED, died=True, origin=Origin.PREFECT, retry_of=OTHER)),
        "It died at 2026-11-26T08:59:50Z; it is not tried again by itself, because somebody had set it going by hand.",
    ),
    (
        "died, recovery off",
        facts(ended(JobStatus.FAILED, died=True)),
        "It died at 2026-11-26T08:59:50Z; it is not tried again by itself, because recovery is off for it.",
    ),
    (
        "skipped",
        facts(ended(JobStatus.CANCELLED, error=f"skipped: job {OTHER} of this type had not ended")),
        f"It was cancelled at 2026-11-26T08:59:50Z: skipped: job {OTHER} of this type had not ended.",
    ),
    (
        "cancelled",
        facts(
            ended(
                JobStatus.CANCELLED,
                cancel_requested_by="user_1",
                cancel_requested_at=ago(30),
                cancel_stopped_at=ago(10),
                cancel_items_done=7,
                cancel_safe_to_retry=True,
            ),
            retry=OTHER,
        ),
        (
            "user_1 asked to cancel it at 2026-11-26T08:59:30Z; it had stopped at 2026-11-26T08:59:50Z with 7 items"
            f" done, and a retry repeats nothing; job {OTHER} tries it again."
        ),
    ),
]


@pytest.mark.parametrize(("given", "sentence"), [row[1:] for row in SENTENCES], ids=[row[0] for row in SENTENCES])
def test_the_sentence_says_why(given: Facts, sentence: str) -> None:
    said = explain(given)
    assert said.sentence.startswith(sentence), said.sentence
    assert said.sentence.endswith(".")
    assert (said.job_id, said.status) == (JOB, given.job.status)
    if sentence.endswith("."):
        assert said.sentence == sentence


LADDER = [
    # seconds since the cancel, columns of the row, what is said, and whether that is as it should be
    (1, {}, "its process hears of it with its next beat, within 2 s", True),
    (5, {}, "its flow has been told to stop", True),
    (15, {}, "it did not stop within 10 s, so its process group was sent SIGTERM", True),
    (30, {}, "it did not stop on SIGTERM either, so its process is killed", True),
    (60, {}, "it did not stop on SIGTERM either, so its process is killed", False),
    (12, {"lease_note": "cancelled while running"}, "it has stopped working, and its process is ending", True),
    (60, {"locked_at": ago(50)}, "its process does not answer, and is taken for gone 90 s after its last beat", False),
    (5, {"fence": None}, "an earlier scheduler left it, and no process hears of it", True),
]


@pytest.mark.parametrize(("seconds", "columns", "rung", "ok"), LADDER)
def test_a_running_job_that_is_to_stop_says_how_far_that_is(
    seconds: float, columns: dict[str, Any], rung: str, *, ok: bool
) -> None:
    given = facts(running(**{"cancel_requested_by": "user_1", "cancel_requested_at": ago(seconds)} | columns))
    said = explain(given)
    assert said.sentence.startswith("user_1 asked to cancel it at 2026-11-26T08:")
    assert said.sentence.endswith(f"; {rung}.")
    found = check(given, "cancel")
    assert found is not None
    assert (found.ok, found.since) == (ok, ago(seconds))


CHECKS = [
    # what bears on a job of each status, and what does not
    ("no flow run", facts(a_job()), "paused gate dispatch prefect worker"),
    ("dispatched", facts(a_job(**dispatched)), "paused gate dispatch prefect worker run neighbour"),
    ("on Kubernetes", facts(a_job(**dispatched), pod=Asked()), "paused gate dispatch prefect worker run pod neighbour"),
    ("running", facts(running()), "paused gate prefect worker run process neighbour"),
    ("completed", facts(ended(JobStatus.COMPLETED), run=a_run(StateType.COMPLETED)), "paused prefect run neighbour"),
    ("failed", facts(ended(JobStatus.FAILED)), "paused prefect run neighbour recovery"),
    ("beside anything", facts(a_job(exclusive_key=None)), "paused dispatch prefect worker"),
]


@pytest.mark.parametrize(("given", "names"), [row[1:] for row in CHECKS], ids=[row[0] for row in CHECKS])
def test_only_what_bears_on_the_job_is_checked(given: Facts, names: str) -> None:
    assert " ".join(one.name for one in explain(given).checks) == names


@pytest.mark.parametrize("job", [a_job(**dispatched), running(), ended(JobStatus.FAILED)], ids=lambda job: job.status)
def test_what_prefect_was_not_there_to_tell_is_not_known(job: Job) -> None:
    given = away(job, pod=AWAY)
    said = {one.name: one for one in explain(given).checks}
    derived = {"worker", "run", "pod", "neighbour"} & set(said)
    assert {"run", "neighbour"} <= derived
    for name in derived:
        assert (said[name].ok, said[name].detail) == (
            None,
            "Not known: Prefect has not answered since 2026-11-26T08:56:40Z.",
        )
    assert (said["prefect"].ok, said["prefect"].since) == (False, ago(200))
    assert {name for name, one in said.items() if one.ok is None} == derived


def test_one_question_that_prefect_did_not_answer_is_not_its_absence() -> None:
    given = facts(running(), complaint=Asked(problem="Prefect cannot be reached (to read logs: TimeoutError)"))
    said = {one.name: (one.ok, one.detail) for one in explain(given).checks}
    assert said["prefect"] == (True, "Prefect answers.")
    assert said["neighbour"] == (None, "Not known: Prefect cannot be reached (to read logs: TimeoutError).")


DISAGREEMENTS = [
    # row, Prefect, agreed, what is done
    (running(), a_run(StateType.RUNNING), True, "Its flow run is Running in Prefect since 2026-11-26T08:59:00Z."),
    (running(), a_run(StateType.CRASHED), False, "whether its process lives shows within seconds, by its next beat."),
    (running(), a_run(StateType.PAUSED), False, "somebody changed it there, and it is put right within seconds."),
    (running(), a_run(StateType.CANCELLING), False, "so the job is cancelled here within seconds."),
    (running(cancel_requested_at=ago(1)), a_run(StateType.RUNNING), False, "Prefect is asked to cancel it as well."),
    (running(lease_note="x"), a_run(StateType.CRASHED), False, "the job ends within seconds."),
    (running(), Asked(), False, "its process goes on for as long as it holds its lease."),
    (
        ended(JobStatus.FAILED),
        a_run(StateType.FAILED),
        True,
        "Its flow run is Failed in Prefect since 2026-11-26T08:59",
    ),
    (ended(JobStatus.FAILED), a_run(StateType.RUNNING), False, "Prefect is made to follow the job within seconds."),
    (ended(JobStatus.FAILED), a_run(StateType.PENDING), False, "it becomes a job of its own within seconds."),
    (ended(JobStatus.FAILED), Asked(), True, "Prefect does not have its flow run any more."),
]


@pytest.mark.parametrize(("job", "run", "agreed", "part"), DISAGREEMENTS)
def test_a_disagreement_with_prefect_says_what_is_done_about_it(
    job: Job, run: Asked[RunState], part: str, *, agreed: bool
) -> None:
    found = check(facts(job, run=run), "run")
    assert found is not None
    assert found.ok is agreed
    assert part in found.detail


def test_a_pause_does_not_hold_a_job_back_that_has_started() -> None:
    found = check(facts(running(), maintenance=PAUSE), "paused")
    assert found is not None
    assert (found.ok, found.detail) == (True, "It has started, but all starts are paused (the database moves).")


@pytest.mark.parametrize(
    ("pod", "ok"),
    [
        (PodSign("crawl-x7", "running", ago(90), None), True),
        (PodSign("crawl-x7", "succeeded", ago(90), None), True),
        (PodSign("crawl-x7", "failed", ago(90), None), False),
        (PodSign("crawl-x7", "evicted", ago(90), "OOMKilled"), False),
        (None, True),  # nothing was told yet
    ],
)
def test_a_pod_is_told_by_its_phase(pod: PodSign | None, *, ok: bool) -> None:
    found = check(facts(running(), pod=Asked(pod)), "pod")
    assert found is not None
    assert found.ok is ok


def test_a_cancel_that_came_too_late_is_told() -> None:
    given = facts(ended(JobStatus.COMPLETED, cancel_requested_by="user_1", cancel_requested_at=ago(12)))
    found = check(given, "cancel")
    assert found is not None
    assert found.detail.endswith("and it ended as completed before it could stop.")


def test_what_a_neighbour_refused_is_the_newest_warning_on_one_line() -> None:
    line = LogLine("crawl refused:\n  503 from the crawler.", ago(4))
    found = check(facts(running(), complaint=Asked(line)), "neighbour")
    assert found is not None
    assert (found.ok, found.since) == (False, ago(4))
    assert found.detail == "The newest warning or error of its run: crawl refused: 503 from the crawler."


SECRET = "mail to ada@example.com failed at https://u:p@db/x?apikey=1 with Bearer abc.def.ghi"


def test_addresses_and_secrets_are_never_told() -> None:
    line: Asked[LogLine] = Asked(LogLine(SECRET * 50, ago(1)))
    pause = replace(PAUSE, reason=SECRET)
    worker: Asked[WorkerSign] = Asked(WorkerSign(SECRET, ago(1), 30))
    pod: Asked[PodSign] = Asked(PodSign(SECRET, "pending", ago(90), SECRET))
    run = a_run(StateType.CRASHED, SECRET, SECRET)
    outside: dict[str, Any] = {
        "complaint": line,
        "maintenance": pause,
        "worker": worker,
        "pod": pod,
        "run": run,
        "pool": SECRET,
    }
    progress = {"itemsProcessed": 1, "phase": SECRET}
    jobs = [
        a_job(**dispatched, pending_reason=SECRET),
        a_job(slot_held=True, pending_reason=SECRET, exclusive_key=SECRET),
        running(locked_by=SECRET, progress=progress),
        running(lease_note=SECRET),
        running(cancel_requested_at=ago(1), cancel_requested_by=SECRET),
        ended(JobStatus.FAILED, error=SECRET, died=True),
        ended(JobStatus.CANCELLED, error=SECRET),
        ended(JobStatus.COMPLETED, result={"itemsProcessed": SECRET}),
    ]
    for job in jobs:
        for given in (replace(facts(job), **outside), replace(away(job), **(outside | {"run": Asked(problem=SECRET)}))):
            told = explain(given).model_dump_json()
            for secret in ("ada@", "u:p@", "apikey=1", "abc.def"):
                assert secret not in told
            assert max(len(one.detail) for one in explain(given).checks) < 1200

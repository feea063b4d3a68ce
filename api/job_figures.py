"""Jobs and their schedules as families of Prometheus: everything here is the database's, the same on every replica."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from flows.core.domain import JobType
from flows.core.history import EndedTotals, EventTotals, Totals
from flows.core.schedules import Schedule, effective

OUTCOMES = ("completed", "failed", "cancelled", "skipped")
MAILING = (JobType.WEEKLY_DIGEST, JobType.SUBMISSION_NOTIFICATIONS, JobType.MODERATION_UPDATES)
MAIL_OUTCOMES = ("sent", "delivered", "undelivered", "failed", "skipped", "unknown")


def families(totals: Totals, files: Mapping[str, Schedule], periods: Mapping[str, timedelta]) -> Iterable[Metric]:
    """Every family, with a sample of each type and outcome: what begins at 1 instead of 0 never counts as an increase.

    `files` is what prefect.yaml says of each type, `periods` has those that run by themselves.
    """
    yield from _ended(totals.ended)
    yield from _open(totals)
    yield from _events(totals.events)
    yield from _schedules(totals, files, periods)
    yield GaugeMetricFamily("scheduler_paused", "1 while every start is held back", value=totals.paused is not None)


def _types(found: Iterable[str]) -> list[str]:
    """Our types, and those of an earlier scheduler that have jobs."""
    return [*JobType, *sorted(set(found) - set(JobType))]


def _ended(ended: list[EndedTotals]) -> Iterable[Metric]:
    jobs = CounterMetricFamily(
        "scheduler_jobs_ended",
        "Jobs that ended; skipped: runs of a schedule that were not to start",
        labels=["job_type", "outcome"],
    )
    items = CounterMetricFamily("scheduler_items_processed", "Items that jobs processed", labels=["job_type"])
    lasted = SummaryMetricFamily("scheduler_job_duration_seconds", "How long jobs ran", labels=["job_type", "outcome"])
    success = GaugeMetricFamily(
        "scheduler_last_success_timestamp_seconds", "When a job completed last", labels=["job_type"]
    )
    made = CounterMetricFamily(
        "scheduler_estimates", "Completed and failed jobs that had an estimate", labels=["job_type"]
    )
    hit = CounterMetricFamily("scheduler_estimates_hit", "Those that ended within it", labels=["job_type"])
    found = {(one.job_type, one.outcome): one for one in ended}
    for job_type in _types(job_type for job_type, _ in found):
        rows = {outcome: found.get((job_type, outcome)) for outcome in OUTCOMES}
        for outcome, row in rows.items():
            jobs.add_metric([job_type, outcome], row.jobs if row else 0)
            lasted.add_metric(
                [job_type, outcome], count_value=row.timed if row else 0, sum_value=row.seconds if row else 0
            )
        told = [row for row in rows.values() if row]
        judged = [row for row in told if row.outcome in ("completed", "failed")]
        items.add_metric([job_type], sum(row.items for row in told))
        made.add_metric([job_type], sum(row.estimates for row in judged))
        hit.add_metric([job_type], sum(row.hits for row in judged))
        if completed := rows["completed"]:
            success.add_metric([job_type], completed.last_at.timestamp())
    return (jobs, items, lasted, success, made, hit)


def _open(totals: Totals) -> Iterable[Metric]:
    queued = GaugeMetricFamily("scheduler_jobs_queued", "Jobs that wait", labels=["job_type"])
    running = GaugeMetricFamily("scheduler_jobs_running", "Jobs that run", labels=["job_type"])
    oldest = GaugeMetricFamily(
        "scheduler_oldest_pending_seconds",
        "How long the oldest of those that wait does; 0 where none",
        labels=["job_type"],
    )
    longest = GaugeMetricFamily(
        "scheduler_longest_run_seconds", "How long the job that runs longest does; 0 where none", labels=["job_type"]
    )
    used = GaugeMetricFamily(
        "scheduler_run_time_used_ratio",
        "How much of its maximum run time the running job nearest to it has used; 0 where none",
        labels=["job_type"],
    )
    opened = {one.job_type: one for one in totals.open}
    runs = {one.job_type: one for one in totals.running}
    for job_type in _types({*opened, *runs}):
        here, run = opened.get(job_type), runs.get(job_type)
        queued.add_metric([job_type], here.pending if here else 0)
        running.add_metric([job_type], here.running if here else 0)
        oldest.add_metric([job_type], (here and here.oldest_pending_seconds) or 0)
        longest.add_metric([job_type], run.longest_seconds if run else 0)
        used.add_metric([job_type], (run and run.share_used) or 0)
    return (queued, running, oldest, longest, used)


def _events(events: list[EventTotals]) -> Iterable[Metric]:
    lost = CounterMetricFamily(
        "scheduler_leases_lost",
        "Jobs whose process was gone before it had written their end: killed, evicted, silent for 90 s",
        labels=["job_type"],
    )
    never = CounterMetricFamily(
        "scheduler_jobs_never_started",
        "Jobs whose run a worker took on and whose process never began, or died first",
        labels=["job_type"],
    )
    late = SummaryMetricFamily(
        "scheduler_schedule_lateness_seconds",
        "How long after their time runs of a schedule began, whatever held them up",
        labels=["job_type"],
    )
    mails = CounterMetricFamily(
        "scheduler_mails",
        "Mails: sent (queued by the mail service), and of these delivered or undelivered; failed (never queued),"
        " skipped (nobody to be mailed), unknown (nobody can tell, never sent again)",
        labels=["job_type", "outcome"],
    )
    found = {(one.what, one.job_type, one.outcome): one for one in events}

    def count(what: str, job_type: str, outcome: str = "") -> int:
        row = found.get((what, job_type, outcome))
        return row.events if row else 0

    for job_type in _types(one.job_type for one in events):
        lost.add_metric([job_type], count("lease_lost", job_type))
        never.add_metric([job_type], count("never_started", job_type))
        starts = found.get(("scheduled_start", job_type, ""))
        late.add_metric(
            [job_type], count_value=starts.events if starts else 0, sum_value=starts.seconds if starts else 0
        )
    for job_type in MAILING:
        for outcome in MAIL_OUTCOMES:
            mails.add_metric([job_type, outcome], count("mail", job_type, outcome))
    return (lost, never, late, mails)


def _schedules(totals: Totals, files: Mapping[str, Schedule], periods: Mapping[str, timedelta]) -> Iterable[Metric]:
    enabled = GaugeMetricFamily("scheduler_schedule_enabled", "1 where a type runs by itself", labels=["job_type"])
    apart = GaugeMetricFamily(
        "scheduler_schedule_period_seconds",
        "The longest time between two fires of a type's schedule; absent where it does not run by itself",
        labels=["job_type"],
    )
    since = GaugeMetricFamily(
        "scheduler_success_expected_since_timestamp_seconds",
        "From when on the next success is waited for: the last one, or when the schedule was edited, the type deployed,"
        " or the pause over, if that was later; absent where it does not run by itself",
        labels=["job_type"],
    )
    overrides = {one.job_type: one for one in totals.overrides}
    successes = {one.job_type: one.last_at for one in totals.ended if one.outcome == "completed"}
    for job_type in _types(files):
        enabled.add_metric([job_type], job_type in periods)
        if job_type not in periods:
            continue
        apart.add_metric([job_type], periods[job_type].total_seconds())
        override = overrides.get(job_type)
        # A type that never succeeded is waited for from its deployment on; one that did, also through later deploys.
        moments = [
            successes.get(job_type) or totals.deployed_at.get(job_type),
            override.updated_at if override else None,
            totals.resumed_at,
        ]
        if known := [moment.timestamp() for moment in moments if moment is not None]:
            since.add_metric([job_type], max(known))
    return (enabled, apart, since)


def schedules_on(totals: Totals, files: Mapping[str, Schedule]) -> dict[str, Schedule]:
    """When each type runs that runs by itself."""
    overrides = {one.job_type: one for one in totals.overrides}
    wanted = {job_type: effective(file, overrides.get(job_type)) for job_type, file in files.items()}
    return {job_type: schedule for job_type, schedule in wanted.items() if schedule.enabled and schedule.cron}

"""GET /metrics: numbers about jobs, schedules, mails, what is beside the shim, and the process."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from api import metrics
from api.metrics import sample_names
from flows.core.domain import JobType
from tests.api.conftest import MakeShim, Shim
from tests.api.test_stats import ended
from tests.conftest import Connection

# Two days ago.
DEPLOYED = f"""insert into public.job_types (job_type, deployment_id, parameter_schema, seen_at)
    select t, gen_random_uuid(), '{{}}', now() - interval '2 days' from unnest(array{[*map(str, JobType)]}) t
    on conflict (job_type) do update set seen_at = excluded.seen_at"""


async def figures(shim: Shim) -> dict[str, float]:
    """What a scraper without a token reads: sample to value."""
    answer = await shim.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert len(found) == len(lines), "a sample is there twice"
    return found


async def test_tells_about_jobs(shim: Shim, sql: Connection) -> None:
    await ended(sql, "completed", 3, seconds=10, estimate='{"p10": 5, "p50": 9, "p90": 11, "runs": 9}')
    await ended(sql, "failed", 2, estimate='{"p10": 1, "p50": 2, "p90": 3, "runs": 9}')
    await ended(sql, "completed", 1, days=800, seconds=10)
    await shim.trigger()
    await sql.execute(
        "update public.scheduled_jobs set created_at = now() - interval '1 hour' where status = 'pending'"
    )
    found = await figures(shim)
    crawl = '{job_type="crawl_pending"}'
    assert found["scheduler_database_up"] == 1
    assert found['scheduler_jobs_ended_total{job_type="crawl_pending",outcome="completed"}'] == 4
    assert found['scheduler_jobs_ended_total{job_type="crawl_pending",outcome="failed"}'] == 2
    assert found['scheduler_job_duration_seconds_sum{job_type="crawl_pending",outcome="completed"}'] == 40
    assert found['scheduler_job_duration_seconds_count{job_type="crawl_pending",outcome="completed"}'] == 4
    assert found[f"scheduler_items_processed_total{crawl}"] == 6 * 4
    assert (found[f"scheduler_estimates_total{crawl}"], found[f"scheduler_estimates_hit_total{crawl}"]) == (5, 3)
    assert (found[f"scheduler_jobs_queued{crawl}"], found[f"scheduler_jobs_running{crawl}"]) == (1, 0)
    assert found[f"scheduler_oldest_pending_seconds{crawl}"] == pytest.approx(3600, abs=20)
    now = datetime.now(UTC).timestamp()
    assert found[f"scheduler_last_success_timestamp_seconds{crawl}"] == pytest.approx(now, abs=20)


async def test_counts_requests_by_route_and_not_by_path(shim: Shim) -> None:
    before = await figures(shim)
    for job_id in range(3):
        await shim.get(f"/api/jobs/{job_id}")
    await shim.http.get("/api/no-such-route")
    await shim.http.request("BREW", "/api/jobs/1")
    await shim.http.options("/api/jobs", headers={"Origin": "http://evil", "Access-Control-Request-Method": "GET"})
    after = await figures(shim)
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    requests = {name: value for name, value in grown.items() if name.startswith("scheduler_http_requests_total")}
    assert requests == {
        'scheduler_http_requests_total{method="GET",route="/api/jobs/{job_id}",status="404"}': 3,
        'scheduler_http_requests_total{method="GET",route="none",status="404"}': 1,
        'scheduler_http_requests_total{method="other",route="/api/jobs/{job_id}",status="405"}': 1,
        'scheduler_http_requests_total{method="OPTIONS",route="none",status="400"}': 1,
        'scheduler_http_requests_total{method="GET",route="/metrics",status="200"}': 1,
    }
    count = 'scheduler_http_request_duration_seconds_count{method="GET",route="/api/jobs/{job_id}"}'
    assert grown[count] == 3
    assert after["scheduler_uptime_seconds"] > 0


async def test_has_a_sample_of_every_type_and_outcome_from_the_first_scrape_on(shim: Shim) -> None:
    found = await figures(shim)
    ended_zero = {name: value for name, value in found.items() if name.startswith("scheduler_jobs_ended_total")}
    assert len(ended_zero) == len(JobType) * 4
    assert len([name for name in found if name.startswith("scheduler_mails_total")]) == 3 * 6
    assert len([name for name in found if name.startswith("scheduler_leases_lost_total")]) == len(JobType)
    assert {value for name, value in found.items() if re.match(".*_(ended|mails|lost)_total", name)} == {0}


async def test_names_every_series_that_there_can_be(shim: Shim, sql: Connection) -> None:
    await ended(sql, "completed")
    await shim.trigger()
    await sql.execute(DEPLOYED)
    scraped = {re.split(r"[{ ]", name)[0] for name in await figures(shim)}
    assert scraped == sample_names()


async def test_tells_how_long_jobs_run_and_what_they_lost(shim: Shim, sql: Connection) -> None:
    await sql.execute(
        "insert into public.scheduled_jobs (job_type, status, started_at, max_run_seconds) values"
        " ('crawl_pending', 'running', now() - interval '900 seconds', 1800),"
        " ('crawl_pending', 'running', now() - interval '30 seconds', 40),"
        " ('weekly_digest', 'running', now() - interval '60 seconds', null)"
    )
    await sql.execute(
        "insert into public.monitored_events (what, job_type, outcome, slot, events, seconds) values"
        " ('lease_lost', 'crawl_pending', '', 0, 2, 0), ('lease_lost', 'crawl_pending', '', 3, 1, 0),"
        " ('never_started', 'update_metrics', '', 0, 5, 0), ('mail', 'weekly_digest', 'sent', 1, 700, 0),"
        " ('scheduled_start', 'crawl_pending', '', 0, 4, 10.5), ('scheduled_start', 'crawl_pending', '', 1, 1, 2)"
    )
    found = await figures(shim)
    crawl = '{job_type="crawl_pending"}'
    assert found[f"scheduler_longest_run_seconds{crawl}"] == pytest.approx(900, abs=20)
    assert found[f"scheduler_run_time_used_ratio{crawl}"] == pytest.approx(0.75, abs=0.2)
    assert found['scheduler_longest_run_seconds{job_type="weekly_digest"}'] == pytest.approx(60, abs=20)
    assert found['scheduler_run_time_used_ratio{job_type="weekly_digest"}'] == 0
    assert found[f"scheduler_leases_lost_total{crawl}"] == 3
    assert found['scheduler_jobs_never_started_total{job_type="update_metrics"}'] == 5
    assert found['scheduler_mails_total{job_type="weekly_digest",outcome="sent"}'] == 700
    assert found[f"scheduler_schedule_lateness_seconds_count{crawl}"] == 5
    assert found[f"scheduler_schedule_lateness_seconds_sum{crawl}"] == 12.5


async def test_tells_when_types_run_and_since_when_a_success_is_waited_for(shim: Shim, sql: Connection) -> None:
    await ended(sql, "completed", days=3)
    await ended(sql, "completed", days=3, job_type="weekly_digest")
    await sql.execute(DEPLOYED)
    await sql.execute(
        "insert into public.schedule_overrides (job_type, cron, enabled, updated_at) values"
        " ('update_metrics', null, false, now()), ('weekly_digest', '0 9 1 * *', null, now() - interval '1 day')"
    )
    found = await figures(shim)

    def of(name: str, job_type: str) -> float | None:
        return found.get(f'scheduler_{name}{{job_type="{job_type}"}}')

    now, day, since = datetime.now(UTC).timestamp(), 86_400, "success_expected_since_timestamp_seconds"
    assert (of("schedule_enabled", "crawl_pending"), of("schedule_enabled", "update_metrics")) == (1, 0)
    assert of("schedule_period_seconds", "crawl_pending") == 15 * 60
    assert of("schedule_period_seconds", "weekly_digest") == 31 * day
    assert of("schedule_period_seconds", "update_metrics") is None
    assert of(since, "crawl_pending") == pytest.approx(now - 3 * day, abs=20), "the last success"
    assert of(since, "weekly_digest") == pytest.approx(now - day, abs=20), "the edit after it"
    assert of(since, "cleanup_old_data") == pytest.approx(now - 2 * day, abs=20), "the deployment: no success yet"
    assert of(since, "update_metrics") is None


async def test_waits_for_a_success_from_the_end_of_a_pause_on(shim: Shim, sql: Connection) -> None:
    await ended(sql, "completed", days=3)
    await sql.execute(
        "insert into public.maintenance (paused, until, set_at)"
        " values (true, now() - interval '1 hour', now() - interval '2 days')"
    )
    found = await figures(shim)
    since = found['scheduler_success_expected_since_timestamp_seconds{job_type="crawl_pending"}']
    assert since == pytest.approx(datetime.now(UTC).timestamp() - 3600, abs=20)
    assert found["scheduler_paused"] == 0


async def test_tells_of_a_pause(shim: Shim) -> None:
    await shim.put("/api/maintenance", {"paused": True, "reason": "database moves"})
    assert (await figures(shim))["scheduler_paused"] == 1


@pytest.mark.parametrize(("seconds_ago", "up"), [(20, 1), (100, 0)])  # its heartbeats come every 30 s
async def test_tells_of_the_newest_worker(shim: Shim, seconds_ago: float, up: float) -> None:
    shim.prefect.add_worker(4000)
    shim.prefect.add_worker(seconds_ago)
    found = await figures(shim)
    assert (found["scheduler_prefect_up"], found["scheduler_worker_up"]) == (1, up)
    seen = found["scheduler_worker_last_seen_timestamp_seconds"]
    assert seen == pytest.approx(datetime.now(UTC).timestamp() - seconds_ago, abs=20)


async def test_knows_a_pool_that_never_had_a_worker(shim: Shim) -> None:
    found = await figures(shim)
    assert found["scheduler_worker_up"] == 0
    assert found["scheduler_worker_last_seen_timestamp_seconds"] == 0


@pytest.mark.parametrize("trouble", ["down", "hanging"])
async def test_tells_of_jobs_without_prefect(shim: Shim, trouble: str) -> None:
    setattr(shim.prefect, trouble, True)
    found = await figures(shim)
    assert (found["scheduler_database_up"], found["scheduler_prefect_up"]) == (1, 0)
    assert not [name for name in found if name.startswith("scheduler_worker")], "nobody knows"


@pytest.mark.parametrize("reason", ["no answer", "not deployed"])
async def test_counts_dispatches_that_fail(shim: Shim, reason: str) -> None:
    name = f'scheduler_dispatch_failures_total{{reason="{reason}"}}'
    before = metrics.PROCESS.dispatch_failures.labels(reason)._value.get()
    await shim.trigger()
    shim.prefect.down, shim.prefect.deployed = reason == "no answer", reason != "not deployed"
    await shim.runtime.dispatcher.dispatch_due()
    await shim.runtime.dispatcher.settled()
    assert (await figures(shim))[name] == before + 1


async def test_scrapes_cost_one_question_in_five_seconds(shim: Shim, sql: Connection) -> None:
    await figures(shim)
    asked = len(shim.prefect.asked)
    await ended(sql, "completed")
    found = await figures(shim)
    assert found['scheduler_jobs_ended_total{job_type="crawl_pending",outcome="completed"}'] == 0
    assert len(shim.prefect.asked) == asked


async def test_answers_without_the_database(make_shim: MakeShim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    async with make_shim(catalogue=False) as shim:
        found = await figures(shim)
        refused = await shim.get("/api/jobs/stats")
    assert found["scheduler_database_up"] == 0
    assert found["scheduler_uptime_seconds"] > 0
    assert not [name for name in found if name.startswith("scheduler_jobs")]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")

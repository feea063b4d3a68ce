"""The weekly digest, from the trigger to the mails that were queued, on real parts."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.e2e.harness import Admin, Job, until

WEEK = "2026-W48"
OPTED_OUT, WITHOUT_ADDRESS = 3, 2

_READERS = """
with readers as (
  insert into public.users (clerk_user_id, email, full_name, last_sign_in_at)
    select 'user_' || n, 'reader' || n || '@mail.example', 'Reader' || n || ' Of Pages', now()
      from generate_series(1, $1) n
    returning id, clerk_user_id),
chosen as (insert into public.email_preferences (user_id) select id from readers)
insert into public.user_preferences (user_id, preferred_topics, blocked_domains)
  select id, case when right(clerk_user_id, 1) < '3' then '{art,science}'::text[] else '{art}' end, '{blocked.example}'
    from readers
"""
_OTHERS = """
with others as (
  insert into public.users (clerk_user_id, email)
    select 'other_' || n, case when n > $1 then null else 'other' || n || '@mail.example' end
      from generate_series(1, $1::int + $2::int) n
    returning id, email)
insert into public.email_preferences (user_id, weekly_trending) select id, email is null from others
"""
_DISCOVERIES = """
with pages as (
  insert into public.discoveries (url, title, description, domain, topics, status, crawl_status)
    select 'https://' || d.domain || '/' || d.topic || n, d.topic || ' ' || n, 'About ' || d.topic, d.domain,
           array[d.topic], 'approved', 'completed'
      from generate_series(1, 12) n,
           (values ('art', 'art.example'), ('science', 'science.example'), ('art', 'blocked.example')) d (topic, domain)
    returning id, domain)
insert into public.trending_content (discovery_id, time_window, trending_score)
  select id, w, 0.5 from pages, unnest(array['1h', '24h']) w where domain = 'science.example'
"""
_MAILS = """
select q.user_id, q.email_type, q.recipient_email, m.template_data
  from public.email_queue q join mail_standin.mails m on m.email_id = q.id
"""


async def site(admin: Admin, readers: int) -> None:
    """As many readers who get the digest, five others who do not, and pages to choose from."""
    await admin.sql.execute(_READERS, readers)
    await admin.sql.execute(_OTHERS, OPTED_OUT, WITHOUT_ADDRESS)
    await admin.sql.execute(_DISCOVERIES)


async def asked(admin: Admin, parameters: dict[str, Any]) -> httpx.Response:
    """The answer to a trigger, once the shim has heard of the deployment whose form checks the parameters."""
    body = {"jobType": "weekly_digest", "parameters": parameters}

    async def answered() -> httpx.Response | None:
        answer = await admin.http.post("/api/jobs/trigger", json=body)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    found: httpx.Response = await until(answered, seconds=20, what="the shim knows weekly_digest")
    return found


async def digest(admin: Admin, **parameters: Any) -> Job:
    answer = await asked(admin, parameters)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    job: Job = answer.json()
    return job


async def mails_by_user(admin: Admin) -> Counter[str]:
    """How often the mail service was asked to mail whom."""
    return Counter(await admin.received("email"))


async def test_a_digest_mails_everybody_who_wants_it_once(admin: Admin) -> None:
    await site(admin, 30)
    job = await admin.wait((await digest(admin, week=WEEK))["id"])
    assert job["status"] == "completed", job
    assert job["parameters"] == {"week": WEEK, "active_within_days": None, "shards": 1, "dry_run": False}
    result = job["result"]
    assert (result["itemsProcessed"], result["errors"]) == (30, [])
    assert {name: result["details"][name] for name in ("queued", "failed", "skipped", "unknown")} == {
        "queued": 30,
        "failed": 0,
        "skipped": 0,
        "unknown": 0,
    }
    audience = result["details"]["audience"]
    assert (audience["planned"], audience["optedOut"], audience["noAddress"]) == (30, OPTED_OUT, WITHOUT_ADDRESS)
    (run,) = await admin.runs_of(job["id"])
    assert run["name"] == f"weekly_digest {WEEK}"

    mails = await admin.sql.fetch(_MAILS)
    assert len({mail["user_id"] for mail in mails}) == len(mails) == 30
    for mail in mails:
        data = mail["template_data"]
        assert mail["email_type"] == "weekly-trending"
        assert (data["weekStart"], data["weekEnd"]) == ("2026-11-16", "2026-11-22")
        assert mail["recipient_email"] == f"{data['firstName'].lower()}@mail.example"
        assert len({one["id"] for one in data["discoveries"]}) == len(data["discoveries"]) == 10
        assert {one["domain"] for one in data["discoveries"]} <= {"art.example", "science.example"}
    told = str(await admin.row(job["id"]))
    assert "@mail.example" not in told


async def test_a_week_is_mailed_once_however_often_and_however_its_digest_is_run(admin: Admin) -> None:
    await site(admin, 300)
    # Past the gate, as no caller of the API can: jobs without a key run beside anything.
    jobs = await admin.sql.fetch(
        "select accept_job(jsonb_build_object('job_type', 'weekly_digest', 'origin', 'dashboard',"
        " 'parameters', jsonb_build_object('week', $1::text)),"
        ' \'{"actor": "harness", "action": "trigger"}\') -> \'job\' ->> \'id\' as id from generate_series(1, 2)',
        WEEK,
    )
    ended = await asyncio.gather(*(admin.wait(row["id"], seconds=120) for row in jobs))
    assert [job["status"] for job in ended] == ["completed", "completed"], ended
    third = await admin.wait((await digest(admin, week=WEEK))["id"])
    assert third["status"] == "completed"
    assert third["result"]["details"]["audience"]["already"] == 300
    times = await mails_by_user(admin)
    assert (len(times), set(times.values())) == (300, {1})


async def test_who_unsubscribes_before_their_turn_gets_nothing(admin: Admin) -> None:
    await site(admin, 800)
    await admin.fault("email", "slow", seconds=1)  # well under the time-out: nothing is to be in doubt
    job = await digest(admin, week=WEEK)

    async def underway() -> bool:
        return bool(await mails_by_user(admin))

    await until(underway, seconds=30, what="the first mail is under way")
    left = await admin.sql.fetch(
        "update public.email_preferences set unsubscribed_all = true where user_id in"
        " (select user_id from public.email_deliveries where status = 'planned' order by id desc limit 50)"
        " returning user_id"
    )
    assert len(left) == 50, "everything was claimed at once: nobody could unsubscribe in time"
    await admin.fault("email", None)
    ended = await admin.wait(job["id"], seconds=60)
    assert ended["status"] == "completed", ended
    details = ended["result"]["details"]
    assert (details["queued"], details["skipped"]) == (750, 50)
    times = await mails_by_user(admin)
    assert not {str(row["user_id"]) for row in left} & set(times)
    assert (len(times), set(times.values())) == (750, {1})


async def test_a_dry_run_tells_the_plan_and_mails_nobody(admin: Admin) -> None:
    await site(admin, 20)
    # One has seen all but four of what is not blocked.
    (reader,) = await admin.sql.fetch("select id from public.users where clerk_user_id = 'user_1'")
    await admin.sql.execute(
        "insert into public.user_interactions (user_id, discovery_id, type) select $1, id, 'view' from"
        " (select id from public.discoveries where domain <> 'blocked.example' order by id limit 20) seen",
        reader["id"],
    )
    job = await admin.wait((await digest(admin, week=WEEK, dry_run=True))["id"])
    assert job["status"] == "completed", job
    details = job["result"]["details"]
    samples = details.pop("samples")
    assert details == {
        "dryRun": True,
        "week": WEEK,
        "toSend": 19,
        "nothingToRecommend": 1,
        "alreadyPlannedOrSent": 0,
        "noAddress": WITHOUT_ADDRESS,
        "deleted": 0,
        "inactive": 0,
        "optedOut": OPTED_OUT,
        "unsubscribed": 0,
    }
    assert [sorted(sample) for sample in samples] == [["discoveries", "userId"]] * 5
    assert all(len(sample["discoveries"]) == 10 for sample in samples)
    assert await mails_by_user(admin) == Counter()
    for table in ("email_deliveries", "digest_candidates", "email_queue"):
        assert await admin.sql.fetchval(f"select count(*) from public.{table}") == 0, table

    real = await admin.wait((await digest(admin, week=WEEK))["id"])
    assert (real["result"]["details"]["queued"], real["result"]["details"]["skipped"]) == (19, 1)


async def test_without_the_discovery_service_nobody_is_mailed_and_a_retry_is_for_the_same_week(admin: Admin) -> None:
    await site(admin, 5)
    await admin.fault("discovery", "500")
    failed = await admin.wait((await digest(admin))["id"])
    assert failed["status"] == "failed"
    assert failed["error"].startswith("no candidates, so nobody was mailed: discovery answered 500"), failed["error"]
    assert await admin.sql.fetchval("select count(*) from public.email_deliveries") == 0
    # As if somebody retried it weeks later.
    await admin.sql.execute(
        "update public.scheduled_jobs set parameters = parameters || $2 where id = $1",
        failed["id"],
        {"week": "2026-W40"},
    )
    await admin.fault("discovery", None)
    answer = await admin.http.post(f"/api/jobs/{failed['id']}/retry")
    assert answer.status_code == 202, answer.text
    job = await admin.wait(answer.json()["id"])
    assert (job["status"], job["parameters"]["week"], job["retryOf"]) == ("completed", "2026-W40", failed["id"])
    assert await admin.sql.fetchval("select count(*) from public.email_deliveries where period = '2026-W40'") == 5


async def test_the_week_of_the_trigger_is_written_to_the_row(admin: Admin) -> None:
    await site(admin, 2)
    job = await admin.wait((await digest(admin))["id"])
    this_week = await admin.sql.fetchval(
        "select to_char(created_at at time zone 'UTC', 'IYYY-\"W\"IW') from public.scheduled_jobs where id = $1",
        job["id"],
    )
    assert job["parameters"]["week"] == this_week


async def test_shards_share_the_sending_and_everybody_is_mailed_once(admin: Admin) -> None:
    await site(admin, 1500)
    await admin.fault("email", "slow", seconds=1)
    job = await admin.wait((await digest(admin, week=WEEK, shards=3))["id"], seconds=120)
    assert job["status"] == "completed", job
    assert job["result"]["details"]["queued"] == job["result"]["itemsProcessed"] == 1500
    children = await admin.sql.fetch("select status, result from public.scheduled_jobs where parent_id = $1", job["id"])
    assert [child["status"] for child in children] == ["completed", "completed"], children
    assert all(child["result"]["details"]["queued"] > 0 for child in children), "the shards had nothing to do"
    assert sum(child["result"]["details"]["queued"] for child in children) < 1500, "the parent had nothing to do"
    times = await mails_by_user(admin)
    assert (len(times), set(times.values())) == (1500, {1})


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"week": "2027-W53"}, "week"), ({"week": "soon"}, "week"), ({"shards": 17}, "shards"), ({"weeks": "x"}, "weeks")],
)
async def test_wrong_parameters_are_refused_at_the_trigger(
    admin: Admin, parameters: dict[str, Any], named: str
) -> None:
    answer = await asked(admin, parameters)
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["error"]

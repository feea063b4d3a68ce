"""What became of every mail: counted in the mail service's own tables and in the ledger, by user."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos_digest.lanes import WEEK, Lanes

_MAILS = """
with queued as (
  select q.user_id, count(*) as mails from public.email_queue q
    where q.email_type = 'weekly-trending' group by q.user_id),
ledger as (select * from public.email_deliveries where job_type = 'weekly_digest' and period = $1)
select
  (select count(*) from queued where mails > 1) as duplicates,
  (select count(*) from ledger) as ledger,
  (select count(*) from ledger where status in ('planned', 'sending')) as planned_or_sending,
  (select count(*) from ledger where status = 'sent') as sent,
  (select count(*) from ledger where status = 'unknown') as unknown,
  (select count(*) from ledger where status = 'unknown' and reason is null) as unknown_without_reason,
  (select count(*) from ledger where status = 'failed' and reason like 'no answer in%') as given_up,
  (select count(*) from ledger l where l.status = 'sent' and not exists (
     select from public.email_queue q where q.id = l.email_id and q.user_id = l.user_id)) as missing_though_sent,
  (select count(*) from public.users u where not exists (
     select from queued q where q.user_id = u.id)) as missing,
  (select count(*) from ledger l where l.status = 'unknown' and not exists (
     select from queued q where q.user_id = l.user_id)) as missing_unknown
"""
_LAST = """
select coalesce((result -> 'details' ->> 'unknown')::integer, 0) as told_unknown,
    jsonb_array_length(result -> 'errors') as errors_listed,
    coalesce((result -> 'details' ->> 'errorsTruncated')::integer, 0) as errors_truncated
  from public.scheduled_jobs where status = 'completed' order by completed_at desc limit 1
"""


@dataclass(frozen=True)
class Counts:
    """`missing` users have no mail in the service's queue; `missing_unknown` of them are unknown to the ledger."""

    duplicates: int
    ledger: int
    planned_or_sending: int
    sent: int
    unknown: int
    unknown_without_reason: int
    given_up: int
    missing_though_sent: int
    missing: int
    missing_unknown: int
    told_unknown: int
    errors_listed: int
    errors_truncated: int


async def count(lanes: Lanes) -> Counts:
    (mails,) = await lanes.query(_MAILS, WEEK)
    (last,) = await lanes.query(_LAST)
    return Counts(**mails, **last)

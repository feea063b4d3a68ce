-- What monitoring counts besides ended jobs: leases lost, starts of schedules, mails. Counted in the transaction in which
-- each happens, so that a scrape reads some hundred rows and never the history. Before the deploy.
-- It counts from now on: what happened before is no matter for an alert.
set lock_timeout = '5s';

create table public.monitored_events (
  what text not null check (what in ('lease_lost', 'never_started', 'scheduled_start', 'mail')),
  job_type text not null,
  outcome text not null default '',
  slot bigint not null,
  events bigint not null,
  seconds float8 not null default 0,
  primary key (what, job_type, outcome, slot)
) with (fillfactor = 50);
create index monitored_events_singles on public.monitored_events (slot) where slot > 31;
comment on table public.monitored_events is 'How often something has happened, for /metrics; only ever grows';
comment on column public.monitored_events.outcome is 'Of a mail: sent (queued by the mail service), delivered, undelivered (queued and then given up), failed (never queued), skipped, unknown';
comment on column public.monitored_events.slot is 'What happens at the same time is counted in rows of their own: add them up';
comment on column public.monitored_events.seconds is 'Of scheduled starts: how long after their time they began, added up';
alter table public.monitored_events enable row level security;
revoke all on public.monitored_events from anon, authenticated;
grant select, insert, update, delete on public.monitored_events to service_role;

create function public.count_event(
  p_what text, p_job_type text, p_outcome text, p_events bigint, p_seconds double precision default 0
) returns void
language plpgsql security definer set search_path = '' as $$
-- As with job_stats_daily, a transaction counts in the first slot that it can have for itself: it never waits, and nobody
-- waits for it. With all taken it makes a row of its own, and whoever has slot 0 next adds those up.
declare
  v_slot bigint;
begin
  select s into v_slot from generate_series(0, 31) s where pg_try_advisory_xact_lock(7354004, s) limit 1;
  if v_slot is null then v_slot := 32 + pg_current_xact_id()::text::bigint; end if;
  insert into public.monitored_events as m (what, job_type, outcome, slot, events, seconds)
    values (p_what, p_job_type, p_outcome, v_slot, p_events, p_seconds)
    on conflict (what, job_type, outcome, slot) do update set
      events = m.events + excluded.events, seconds = m.seconds + excluded.seconds;
  if v_slot = 0 and exists (select from public.monitored_events where slot > 31) then
    with singles as (delete from public.monitored_events where slot > 31 returning *)
    insert into public.monitored_events as m (what, job_type, outcome, slot, events, seconds)
      select what, job_type, outcome, 0, sum(events), sum(seconds) from singles group by what, job_type, outcome
      on conflict (what, job_type, outcome, slot) do update set
        events = m.events + excluded.events, seconds = m.seconds + excluded.seconds;
  end if;
end $$;
comment on function public.count_event is 'Counts something that has happened, for monitoring';

create function public.count_start_or_death() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.died and old.died is not true then
    perform public.count_event(case old.status when 'running' then 'lease_lost' else 'never_started' end, new.job_type, '', 1);
  else
    perform public.count_event('scheduled_start', new.job_type, '', 1,
      greatest(0, extract(epoch from new.started_at - new.created_at))::float8);
  end if;
  return null;
end $$;
comment on function public.count_start_or_death is 'Trigger: counts jobs that have lost their process, and starts of schedules with their lateness';

-- Beats, by far the most updates, end at the condition and call nothing. A shard's time is its parent's.
create trigger count_start_or_death after update on public.scheduled_jobs for each row
  when ((new.died and old.died is not true)
    or (new.status = 'running' and old.status = 'pending' and new.origin = 'schedule' and new.parent_id is null
        and isfinite(new.created_at)))
  execute function public.count_start_or_death();

create function public.count_mail_at_once() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform public.count_event('mail', new.job_type, new.status, 1);
  return null;
end $$;
comment on function public.count_mail_at_once is 'Trigger: counts mails that are settled by the time they are planned';

-- Plans of a digest, a million rows, end at the condition.
create trigger count_mail_at_once after insert on public.email_deliveries for each row
  when (new.status not in ('planned', 'sending'))
  execute function public.count_mail_at_once();

create function public.count_mails() returns trigger
language plpgsql security definer set search_path = '' as $$
-- Once a statement: a batch of mails is one version of a count.
declare
  v_mails record;
begin
  for v_mails in
    select m.job_type, m.outcome, count(*) as mails from (
      select n.job_type, case
          when n.status = o.status then case when n.delivered_at is not null and o.delivered_at is null then 'delivered' end
          when n.status = 'failed' and o.status = 'sent' then 'undelivered'
          when n.status not in ('planned', 'sending') then n.status end as outcome
        from new_mails n join old_mails o on o.id = n.id) m
      where m.outcome is not null group by m.job_type, m.outcome
  loop
    perform public.count_event('mail', v_mails.job_type, v_mails.outcome, v_mails.mails);
  end loop;
  return null;
end $$;
comment on function public.count_mails is 'Trigger: counts mails when it is known what became of them';

create trigger count_mails after update on public.email_deliveries
  referencing old table as old_mails new table as new_mails
  for each statement execute function public.count_mails();

create or replace function public.job_totals() returns jsonb
language sql stable security definer set search_path = '' as $$
-- For /metrics, in one question whose cost does not grow with the history:
--   "ended"      of all time; what is forgotten by day stays in the sums
--   "open"       of open_jobs_by_type, with "oldest_pending_seconds"
--   "running"    by type, the job that runs longest, and the share of its maximum run time used by whichever is nearest it
--   "events"     of monitored_events
--   "overrides", "paused"   as schedules_now tells them
--   "resumed_at" when starts were last allowed again; "deployed_at" by type, when its deployment was last seen changed
  select jsonb_build_object(
    'ended', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from (
                select job_type, outcome, sum(jobs) as jobs, sum(items) as items, sum(timed) as timed, sum(seconds) as seconds,
                    sum(estimates) as estimates, sum(hits) as hits, max(last_at) as last_at
                  from public.job_stats_daily group by job_type, outcome) t),
    'open', (select coalesce(jsonb_agg(to_jsonb(o)
                || jsonb_build_object('oldest_pending_seconds', greatest(0, extract(epoch from now() - o.oldest_pending_at)))), '[]')
               from public.open_jobs_by_type() o),
    'running', (select coalesce(jsonb_agg(to_jsonb(r)), '[]') from (
                  select job_type, greatest(0, extract(epoch from now() - min(started_at))) as longest_seconds,
                      greatest(0, max(extract(epoch from now() - started_at) / nullif(max_run_seconds, 0))) as share_used
                    from public.scheduled_jobs where status = 'running' and isfinite(started_at) group by job_type) r),
    'events', (select coalesce(jsonb_agg(to_jsonb(e)), '[]') from (
                 select what, job_type, outcome, sum(events) as events, sum(seconds) as seconds
                   from public.monitored_events group by what, job_type, outcome) e),
    'resumed_at', (select case when not m.paused then m.set_at when m.until <= now() then m.until end
                     from public.maintenance m),
    'deployed_at', (select coalesce(jsonb_object_agg(t.job_type, t.seen_at), '{}') from public.job_types t))
    || public.schedules_now()
$$;
comment on function public.job_totals is 'Numbers for monitoring: about all jobs there ever were, and about this moment';

revoke execute on function public.count_event, public.count_start_or_death, public.count_mail_at_once, public.count_mails,
  public.job_totals from public, anon, authenticated;
grant execute on function public.count_event, public.count_start_or_death, public.count_mail_at_once, public.count_mails,
  public.job_totals to service_role;

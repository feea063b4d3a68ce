-- Numbers about jobs by day, counted in the transaction in which each one ends. Before the deploy.
-- What has ended before is counted by the next file, in a transaction of its own.
set lock_timeout = '5s';

alter table public.scheduled_jobs add column estimate jsonb;
alter table public.scheduled_jobs_archive add column estimate jsonb;
comment on column public.scheduled_jobs.estimate is
  'Seconds it was expected to run when it started, from earlier runs: {"p10", "p50", "p90", "runs"}; null with too few of them';

create table public.job_stats_daily (
  day date not null,
  job_type text not null,
  outcome text not null check (outcome in ('completed', 'failed', 'cancelled', 'skipped')),
  slot bigint not null,
  jobs bigint not null,
  items bigint not null,
  timed bigint not null,
  seconds float8 not null,
  durations integer[],
  estimates bigint not null,
  hits bigint not null,
  last_at timestamptz not null,
  primary key (day, job_type, outcome, slot)
) with (fillfactor = 50);
comment on table public.job_stats_daily is 'Ended jobs by UTC day, type and outcome; kept 2 years, what is older is added up under the day -infinity';
comment on column public.job_stats_daily.outcome is 'The status, or skipped: cancelled because a schedule was not to run; counts in no rate';
comment on column public.job_stats_daily.slot is 'Ends at the same time are counted in rows of their own, so that they do not wait for each other: add them up';
comment on column public.job_stats_daily.timed is 'Those of `jobs` that had a duration; `seconds` is the sum of these';
comment on column public.job_stats_daily.durations is
  'How many lasted over 1.1^(i-1) to 1.1^i seconds, at index i (negative under a second; -72 to 182): 2*1.1^i/2.1 is within 4.8 % of each';
comment on column public.job_stats_daily.estimates is 'Those with an estimate when they started; `hits` ended within its p10 and p90';
alter table public.job_stats_daily enable row level security;
revoke all on public.job_stats_daily from anon, authenticated;
grant select, insert, update, delete on public.job_stats_daily to service_role;

create view public.ended_jobs as
  -- What counts of each ended job. Rows are written by hand as well: no value of theirs may keep a job from ending.
  select e.id, e.archived, e.job_type, e.outcome, e.ended_at, (e.ended_at at time zone 'UTC')::date as day,
      case when jsonb_typeof(e.result -> 'itemsProcessed') = 'number'
        then least(greatest((e.result ->> 'itemsProcessed')::numeric, 0), 1e12)::bigint else 0 end as items,
      e.seconds,
      case when e.seconds is not null then ceil(ln(least(greatest(e.seconds, 0.001), 3e7)) / ln(1.1::float8))::integer end as bucket,
      e.estimate is not null and e.seconds is not null as estimated,
      coalesce(e.seconds between (e.estimate ->> 'p10')::float8 and (e.estimate ->> 'p90')::float8, false) as hit
    from (
      select j.*,
          case when j.status = 'cancelled' and j.origin = 'schedule' and j.started_at is null
            and j.error ~ '^(skipped|superseded|disabled):' then 'skipped' else j.status end as outcome,
          case when isfinite(j.completed_at) then j.completed_at else coalesce(j.created_at, 'epoch') end as ended_at,
          case when isfinite(j.started_at) and isfinite(j.completed_at)
            then greatest(0, extract(epoch from j.completed_at - j.started_at)::float8) end as seconds
        from (select false as archived, id, job_type, status, origin, started_at, completed_at, created_at, error, result, estimate
                from public.scheduled_jobs
              union all
              select true, id, job_type, status, origin, started_at, completed_at, created_at, error, result, estimate
                from public.scheduled_jobs_archive) j
        where j.status in ('completed', 'failed', 'cancelled')) e;
comment on view public.ended_jobs is 'What job_stats_daily counts of each ended job, archived or not';
revoke all on public.ended_jobs from anon, authenticated;
grant select on public.ended_jobs to service_role;

create function public.add_to_histogram(p_durations integer[], p_bucket integer, p_jobs bigint default 1) returns integer[]
language plpgsql immutable set search_path = '' as $$
-- An array begins at its first bucket and has nulls for empty ones between.
begin
  if p_bucket is not null then
    p_durations[p_bucket] := coalesce(p_durations[p_bucket], 0) + p_jobs;
  end if;
  return p_durations;
end $$;
comment on function public.add_to_histogram is 'A histogram of job_stats_daily with so many more jobs in one bucket';

create aggregate public.histogram(bucket integer, jobs bigint) (sfunc = public.add_to_histogram, stype = integer[]);

create function public.merge_histograms(p_one integer[], p_other integer[]) returns integer[]
language plpgsql immutable set search_path = '' as $$
begin
  if p_one is null or p_other is null then return coalesce(p_one, p_other); end if;
  for v_bucket in array_lower(p_other, 1) .. array_upper(p_other, 1) loop
    if p_other[v_bucket] <> 0 then p_one := public.add_to_histogram(p_one, v_bucket, p_other[v_bucket]); end if;
  end loop;
  return p_one;
end $$;
comment on function public.merge_histograms is 'Two histograms of job_stats_daily as one';

create aggregate public.histograms(durations integer[]) (sfunc = public.merge_histograms, stype = integer[]);

create function public.count_ended_jobs() returns trigger
language plpgsql security definer set search_path = '' as $$
-- Once a statement, not once a row: thousands of jobs that one statement ends would be thousands of versions of a count.
-- Any number of jobs of a type may end at once, in transactions that end others as well and in any order. So a
-- transaction counts in the first slot that it can have for itself: it never waits, and nobody waits for it.
declare
  v_ids uuid[];
  v_slot bigint;
begin
  if tg_op = 'INSERT' then
    v_ids := array(select n.id from new_jobs n where n.status in ('completed', 'failed', 'cancelled'));
  else
    v_ids := array(select n.id from new_jobs n join old_jobs o on o.id = n.id
                     where n.status in ('completed', 'failed', 'cancelled') and o.status is distinct from n.status);
  end if;
  -- Jobs that come back from the archive were counted when they ended.
  if v_ids = '{}' or current_setting('scheduler.restoring', true) = 'on' then return null; end if;
  select s into v_slot from generate_series(0, 31) s where pg_try_advisory_xact_lock(7354002, s) limit 1;
  if v_slot is null then v_slot := 32 + pg_current_xact_id()::text::bigint; end if;
  insert into public.job_stats_daily as s
      (day, job_type, outcome, slot, jobs, items, timed, seconds, durations, estimates, hits, last_at)
    select day, job_type, outcome, v_slot, count(*), sum(items), count(seconds), coalesce(sum(seconds), 0),
        public.histogram(bucket, 1), count(*) filter (where estimated), count(*) filter (where hit), max(ended_at)
      from public.ended_jobs where id = any (v_ids) and not archived group by day, job_type, outcome
    on conflict (day, job_type, outcome, slot) do update set
      jobs = s.jobs + excluded.jobs, items = s.items + excluded.items, timed = s.timed + excluded.timed,
      seconds = s.seconds + excluded.seconds, durations = public.merge_histograms(s.durations, excluded.durations),
      estimates = s.estimates + excluded.estimates, hits = s.hits + excluded.hits,
      last_at = greatest(s.last_at, excluded.last_at);
  return null;
end $$;
comment on function public.count_ended_jobs is 'Trigger: counts jobs in job_stats_daily when they end';

create function public.recount_job_stats() returns void
language plpgsql security definer set search_path = '' as $$
-- Makes the numbers those of the rows there are, archived ones included, while jobs go on ending: what the slots lack is
-- kept under the slot -1. One statement sees rows and slots of the same moment, as each end writes both at once.
begin
  perform pg_advisory_xact_lock(7354003);
  delete from public.job_stats_daily where slot = -1;
  insert into public.job_stats_daily (day, job_type, outcome, slot, jobs, items, timed, seconds, durations, estimates, hits, last_at)
    select day, job_type, outcome, -1, sum(jobs), sum(items), sum(timed), sum(seconds), public.histogram(bucket, in_bucket),
        sum(estimates), sum(hits), max(last_at)
      from (
        select day, job_type, outcome, bucket, count(*) as in_bucket, count(*) as jobs, sum(items) as items,
            count(seconds) as timed, coalesce(sum(seconds), 0) as seconds, count(*) filter (where estimated) as estimates,
            count(*) filter (where hit) as hits, max(ended_at) as last_at
          from public.ended_jobs group by day, job_type, outcome, bucket
        union all
        select day, job_type, outcome, null, 0, -jobs, -items, -timed, -seconds, -estimates, -hits, last_at
          from public.job_stats_daily where isfinite(day)
        union all
        select s.day, s.job_type, s.outcome, array_lower(s.durations, 1) + u.place::integer - 1, -u.jobs, 0, 0, 0, 0, 0, 0, s.last_at
          from public.job_stats_daily s, unnest(s.durations) with ordinality u (jobs, place)
          where isfinite(s.day) and u.jobs <> 0) b
      group by day, job_type, outcome
      having sum(jobs) <> 0;
end $$;
comment on function public.recount_job_stats is 'Counts job_stats_daily anew, for what has ended uncounted';

create trigger count_inserted_jobs after insert on public.scheduled_jobs
  referencing new table as new_jobs for each statement execute function public.count_ended_jobs();
create trigger count_ended_jobs after update on public.scheduled_jobs
  referencing old table as old_jobs new table as new_jobs for each statement execute function public.count_ended_jobs();

create or replace function public.restore_jobs(p_ids uuid[], p_flow_run_id uuid default null) returns void
language plpgsql security definer set search_path = '' as $$
-- Moves archived jobs back, with the retries they have had: by id, or by flow run. For whoever is about to change one.
declare
  v_back uuid[];
begin
  -- They were counted when they ended.
  perform set_config('scheduler.restoring', 'on', true);
  with back as (
    delete from public.scheduled_jobs_archive
      where id = any (p_ids) or retry_of = any (p_ids) or flow_run_id = p_flow_run_id
      returning *),
  restored as (insert into public.scheduled_jobs select * from back returning id)
  select array_agg(id) into v_back from restored;
  perform set_config('scheduler.restoring', '', true);
  if v_back is not null then
    -- Nobody has just accepted them.
    delete from public.job_events where job_id = any (v_back) and transaction_id = pg_current_xact_id();
  end if;
end $$;

revoke execute on function public.add_to_histogram, public.merge_histograms, public.histogram,
  public.histograms, public.count_ended_jobs, public.recount_job_stats
  from public, anon, authenticated;
grant execute on function public.add_to_histogram, public.merge_histograms, public.histogram,
  public.histograms, public.count_ended_jobs, public.recount_job_stats
  to service_role;

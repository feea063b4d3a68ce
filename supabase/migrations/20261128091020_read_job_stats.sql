-- What is read of job_stats_daily: by type for the API, and what a page of job types shows. Before the deploy.
set lock_timeout = '5s';

create function public.job_stats_by_type(p_days integer) returns table (
  job_type text, completed bigint, failed bigint, cancelled bigint, skipped bigint, items bigint,
  average_seconds float8, median_seconds float8, p90_seconds float8, estimates bigint, hits bigint
)
language sql stable security definer set search_path = '' as $$
-- Of the last p_days UTC days, today's among them; all types together have the type null. Durations are those of
-- completed jobs: the average exact, median and p90 within 4.8 % of the job whose rank they are.
  with days as (
    select * from public.job_stats_daily
      where day > (select (now() at time zone 'UTC')::date - p_days) and day <= (select (now() at time zone 'UTC')::date)),
  totals as (
    select d.job_type,
        coalesce(sum(d.jobs) filter (where outcome = 'completed'), 0)::bigint as completed,
        coalesce(sum(d.jobs) filter (where outcome = 'failed'), 0)::bigint as failed,
        coalesce(sum(d.jobs) filter (where outcome = 'cancelled'), 0)::bigint as cancelled,
        coalesce(sum(d.jobs) filter (where outcome = 'skipped'), 0)::bigint as skipped,
        coalesce(sum(d.items), 0)::bigint as items,
        sum(d.seconds) filter (where outcome = 'completed')
          / nullif(sum(d.timed) filter (where outcome = 'completed'), 0)::float8 as average_seconds,
        coalesce(sum(d.estimates) filter (where outcome in ('completed', 'failed')), 0)::bigint as estimates,
        coalesce(sum(d.hits) filter (where outcome in ('completed', 'failed')), 0)::bigint as hits
      from days d group by grouping sets ((d.job_type), ())),
  buckets as (
    select d.job_type, b.bucket, sum(b.jobs) as jobs
      from days d
      cross join lateral (select array_lower(d.durations, 1) + u.place::integer - 1 as bucket, u.jobs
                            from unnest(d.durations) with ordinality u (jobs, place) where u.jobs <> 0) b
      where d.outcome = 'completed' group by d.job_type, b.bucket),
  all_buckets as (
    select * from buckets union all select null, b.bucket, sum(b.jobs) from buckets b group by b.bucket),
  ranked as (
    select b.job_type, b.bucket, sum(b.jobs) over (partition by b.job_type order by b.bucket) as upto,
        sum(b.jobs) over (partition by b.job_type) as total
      from all_buckets b),
  ranks as (
    select r.job_type, 2 * 1.1::float8 ^ min(r.bucket) filter (where r.upto >= 0.5 * r.total) / 2.1 as median_seconds,
        2 * 1.1::float8 ^ min(r.bucket) filter (where r.upto >= 0.9 * r.total) / 2.1 as p90_seconds
      from ranked r group by r.job_type)
  select t.job_type, t.completed, t.failed, t.cancelled, t.skipped, t.items, t.average_seconds, r.median_seconds,
      r.p90_seconds, t.estimates, t.hits
    from totals t left join ranks r on r.job_type is not distinct from t.job_type
$$;
comment on function public.job_stats_by_type is 'Ended jobs of the last days by type, and of all types';

create function public.open_jobs_by_type() returns table (
  job_type text, pending bigint, running bigint, oldest_pending_at timestamptz
)
language sql stable security definer set search_path = '' set enable_seqscan = off set enable_bitmapscan = off as $$
-- Counted, not estimated: what waits and runs is little, and lies together in the index.
  select p.job_type, w.pending, r.running, w.oldest
    from public.job_types_present() p (job_type)
    cross join lateral (select count(*) as pending, min(j.created_at) as oldest from public.scheduled_jobs j
                          where j.job_type = p.job_type and j.status = 'pending') w
    cross join lateral (select count(*) as running from public.scheduled_jobs j
                          where j.job_type = p.job_type and j.status = 'running') r
$$;
comment on function public.open_jobs_by_type is 'How many jobs wait and run now, by type';

create function public.job_types_overview(p_days integer default 30) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off set enable_bitmapscan = off as $$
-- {job type: {"last": its newest job, "completed", "failed": of the last p_days, "medianSeconds", "running", "queued"}}
  select coalesce(jsonb_object_agg(job_type, jsonb_build_object(
      'last', (
        select to_jsonb(j) from public.scheduled_jobs j where j.id = (
          select n.id from unnest(array['pending', 'running', 'completed', 'failed', 'cancelled']) u (status)
            cross join lateral (select l.id, l.created_at from public.scheduled_jobs l
                                  where l.job_type = h.job_type and l.status = u.status
                                  order by l.created_at desc, l.id desc limit 1) n
            order by n.created_at desc, n.id desc limit 1)),
      'completed', coalesce(h.completed, 0), 'failed', coalesce(h.failed, 0), 'medianSeconds', h.median_seconds,
      'running', coalesce(h.running, 0), 'queued', coalesce(h.pending, 0))), '{}')
    from (select * from public.open_jobs_by_type() o
            full join (select * from public.job_stats_by_type(p_days) where job_type is not null) s using (job_type)) h
$$;
comment on function public.job_types_overview is 'What a page of job types shows of each one''s history';

create function public.job_stats(p_days integer) returns jsonb
language sql stable security definer set search_path = '' as $$
-- {"today", "overall", "ended": {job type: of job_stats_by_type}, "open": {job type: of open_jobs_by_type},
--  "daily": {job type: [{"day", "completed", "failed", "cancelled"}, days without an end left out]}}
  with ended as (select * from public.job_stats_by_type(p_days)),
  daily as (
    select d.job_type, d.day, coalesce(sum(d.jobs) filter (where d.outcome = 'completed'), 0) as completed,
        coalesce(sum(d.jobs) filter (where d.outcome = 'failed'), 0) as failed,
        coalesce(sum(d.jobs) filter (where d.outcome = 'cancelled'), 0) as cancelled
      from public.job_stats_daily d
      where d.day > (select (now() at time zone 'UTC')::date - p_days) and d.day <= (select (now() at time zone 'UTC')::date)
      group by d.job_type, d.day)
  select jsonb_build_object(
    'today', (now() at time zone 'UTC')::date,
    'overall', (select to_jsonb(e) from ended e where e.job_type is null),
    'ended', (select coalesce(jsonb_object_agg(e.job_type, to_jsonb(e)), '{}') from ended e where e.job_type is not null),
    'open', (select coalesce(jsonb_object_agg(o.job_type, to_jsonb(o)), '{}') from public.open_jobs_by_type() o),
    'daily', (select coalesce(jsonb_object_agg(t.job_type, t.days), '{}')
                from (select d.job_type, jsonb_agg(to_jsonb(d) - 'job_type' order by d.day) as days from daily d group by d.job_type) t))
$$;
comment on function public.job_stats is 'Numbers about the jobs of the last days, and those that wait and run';

create function public.job_totals() returns jsonb
language sql stable security definer set search_path = '' as $$
-- {"ended": [{"job_type", "outcome", "jobs", "items", "timed", "seconds", "estimates", "hits", "last_at"}], "open": [of
-- open_jobs_by_type, with "oldest_pending_seconds"]}; ended of all time: what is forgotten by day stays in the sums.
  select jsonb_build_object(
    'ended', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from (
                select job_type, outcome, sum(jobs) as jobs, sum(items) as items, sum(timed) as timed, sum(seconds) as seconds,
                    sum(estimates) as estimates, sum(hits) as hits, max(last_at) as last_at
                  from public.job_stats_daily group by job_type, outcome) t),
    'open', (select coalesce(jsonb_agg(to_jsonb(o)
                || jsonb_build_object('oldest_pending_seconds', greatest(0, extract(epoch from now() - o.oldest_pending_at)))), '[]')
               from public.open_jobs_by_type() o))
$$;
comment on function public.job_totals is 'Numbers about all jobs there ever were, for monitoring';

create function public.fold_job_stats(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_as_of timestamptz default now(),
  p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
-- Rows of days more than 2 years ago become part of the sums under the day -infinity, and the slots of days that are over
-- become one. At most p_limit rows at a time; in no order, as there are few.
declare
  v_began timestamptz := clock_timestamp();
  v_expired date := (public.calendar_before(least(p_as_of, now()), interval '2 years') at time zone 'UTC')::date;
  v_over date := ((least(p_as_of, now()) - interval '1 day') at time zone 'UTC')::date;
  v_rows bigint := 0;
begin
  perform public.require_lease(p_job, p_fence);
  if p_dry_run then
    select count(*) into v_rows from public.job_stats_daily
      where isfinite(day) and (day < v_expired or (day < v_over and slot <> 0));
    return public.batch_done(p_job, 'job_stats', v_began, v_rows, false, null, true);
  end if;
  -- Somebody who counts in the first slot now is not waited for, as it may wait for this job: there is another night.
  if pg_try_advisory_xact_lock(7354002, 0) then
    with gone as (
      delete from public.job_stats_daily
        where ctid = any (array(
            select s.ctid from public.job_stats_daily s
              where isfinite(s.day) and (s.day < v_expired or (s.day < v_over and s.slot <> 0)) limit p_limit))
          and isfinite(day)
        returning *),
    counted as (select count(*) as gone from gone),
    folded as (
      insert into public.job_stats_daily as s
          (day, job_type, outcome, slot, jobs, items, timed, seconds, durations, estimates, hits, last_at)
        select case when day < v_expired then '-infinity' else day end as kept_day, job_type, outcome, 0, sum(jobs),
            sum(items), sum(timed), sum(seconds), public.histograms(case when day >= v_expired then durations end),
            sum(estimates), sum(hits), max(last_at)
          from gone group by kept_day, job_type, outcome
        on conflict (day, job_type, outcome, slot) do update set
          jobs = s.jobs + excluded.jobs, items = s.items + excluded.items, timed = s.timed + excluded.timed,
          seconds = s.seconds + excluded.seconds, durations = public.merge_histograms(s.durations, excluded.durations),
          estimates = s.estimates + excluded.estimates, hits = s.hits + excluded.hits,
          last_at = greatest(s.last_at, excluded.last_at))
    select c.gone into v_rows from counted c;
  end if;
  return public.batch_done(p_job, 'job_stats', v_began, v_rows, v_rows > 0, null, false);
end $$;
comment on function public.fold_job_stats is 'Adds up a batch of rows of job_stats_daily that need not be told apart any more';

revoke execute on function public.job_stats_by_type, public.open_jobs_by_type, public.job_types_overview, public.job_stats,
  public.job_totals, public.fold_job_stats from public, anon, authenticated;
grant execute on function public.job_stats_by_type, public.open_jobs_by_type, public.job_types_overview, public.job_stats,
  public.job_totals, public.fold_job_stats to service_role;

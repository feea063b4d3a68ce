-- How long a job that starts can be expected to run, from the runs before it. Before the deploy.
set lock_timeout = '5s';

create function public.estimate_job() returns trigger
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_bitmapscan = off as $$
-- Kept on the row, so that reading a job, or two hundred, asks nothing more; and so that it can be told at its end
-- whether it came true. Of the 200 newest completed jobs of the type: the last 50 with the same parameters, or, where
-- those are less than five, the last 50 that were dry runs if this one is, and shards if this one is. Less than five of
-- these tell nothing.
begin
  with newest as (
    select j.started_at, j.completed_at, j.parent_id, j.parameters, j.created_at
      from public.scheduled_jobs j where j.job_type = new.job_type and j.status = 'completed'
      order by j.created_at desc, j.id desc limit 200),
  alike as (
    select extract(epoch from n.completed_at - n.started_at)::float8 as seconds, n.created_at,
        n.parameters is not distinct from new.parameters as same
      from newest n
      where isfinite(n.started_at) and isfinite(n.completed_at) and n.completed_at >= n.started_at
        and (n.parent_id is null) = (new.parent_id is null)
        and coalesce(n.parameters ->> 'dry_run', 'false') = coalesce(new.parameters ->> 'dry_run', 'false')),
  chosen as (
    select a.seconds from alike a
      where a.same or (select count(*) from alike where same) < 5
      order by a.created_at desc limit 50)
  select case when count(*) >= 5 then jsonb_build_object(
      'p10', round(percentile_cont(0.1) within group (order by seconds)::numeric, 3),
      'p50', round(percentile_cont(0.5) within group (order by seconds)::numeric, 3),
      'p90', round(percentile_cont(0.9) within group (order by seconds)::numeric, 3),
      'runs', count(*)) end
    into new.estimate from chosen;
  return new;
end $$;
comment on function public.estimate_job is 'Trigger: notes on a job that starts how long it can be expected to run';

create trigger estimate_job before update on public.scheduled_jobs
  for each row when (new.status = 'running' and old.status is distinct from new.status)
  execute function public.estimate_job();

revoke execute on function public.estimate_job from public, anon, authenticated;
grant execute on function public.estimate_job to service_role;

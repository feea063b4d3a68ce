-- The archive of ended jobs, and what reads it: a list, explain, a retry. Before the deploy.
set lock_timeout = '5s';

create table public.scheduled_jobs_archive (like public.scheduled_jobs including defaults including comments);
alter table public.scheduled_jobs_archive add primary key (id);
create index scheduled_jobs_archive_created_at_id on public.scheduled_jobs_archive (created_at desc, id desc);
create index scheduled_jobs_archive_completed_at on public.scheduled_jobs_archive (completed_at);
create index scheduled_jobs_archive_flow_run_id on public.scheduled_jobs_archive (flow_run_id) where flow_run_id is not null;
create index scheduled_jobs_archive_retry_of on public.scheduled_jobs_archive (retry_of) where retry_of is not null;
create index scheduled_jobs_archive_parent on public.scheduled_jobs_archive (parent_id) where parent_id is not null;
comment on table public.scheduled_jobs_archive is 'Jobs that ended more than 90 days ago, with the columns of scheduled_jobs; kept 2 years';
alter table public.scheduled_jobs_archive enable row level security;
revoke all on public.scheduled_jobs_archive from anon, authenticated;
grant select, insert, update, delete on public.scheduled_jobs_archive to service_role;

create index idx_scheduled_jobs_completed_at on public.scheduled_jobs (completed_at) where completed_at is not null;

create function public.archive_jobs(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_as_of timestamptz default now(),
  p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set random_page_cost = 1.1 set jit = off set plan_cache_mode = force_custom_plan as $$
-- Moves the next p_limit jobs that ended more than 90 days ago, in one statement: none is lost and none is there twice.
-- Those whose flow run still has to be compared with them, or that are to be tried again, stay. The conditions stand
-- twice because a row that changes while the statement waits for it is judged anew by the outer ones only.
declare
  v_began timestamptz := clock_timestamp();
  v_before timestamptz := public.calendar_before(least(p_as_of, now()), interval '90 days');
  v_rows bigint;
begin
  perform public.require_lease(p_job, p_fence);
  if p_dry_run then
    select count(*) into v_rows from public.scheduled_jobs
      where completed_at < v_before and status in ('completed', 'failed', 'cancelled')
        and run_open is not true and recover_at is null;
    return public.batch_done(p_job, 'jobs', v_began, v_rows, false, null, true);
  end if;
  with moved as (
    delete from public.scheduled_jobs
      where ctid = any (array(
          select j.ctid from public.scheduled_jobs j
            where j.completed_at < v_before and j.status in ('completed', 'failed', 'cancelled')
              and j.run_open is not true and j.recover_at is null
            limit p_limit))
        and completed_at < v_before and status in ('completed', 'failed', 'cancelled')
        and run_open is not true and recover_at is null
      returning *)
  insert into public.scheduled_jobs_archive select * from moved;
  get diagnostics v_rows = row_count;
  return public.batch_done(p_job, 'jobs', v_began, v_rows, v_rows > 0, null, false);
end $$;
comment on function public.archive_jobs is 'Moves a batch of jobs that ended more than 90 days ago to the archive';

create function public.restore_jobs(p_ids uuid[], p_flow_run_id uuid default null) returns void
language plpgsql security definer set search_path = '' as $$
-- Moves archived jobs back, with the retries they have had: by id, or by flow run. For whoever is about to change one.
declare
  v_back uuid[];
begin
  with back as (
    delete from public.scheduled_jobs_archive
      where id = any (p_ids) or retry_of = any (p_ids) or flow_run_id = p_flow_run_id
      returning *),
  restored as (insert into public.scheduled_jobs select * from back returning id)
  select array_agg(id) into v_back from restored;
  if v_back is not null then
    -- Nobody has just accepted them.
    delete from public.job_events where job_id = any (v_back) and transaction_id = pg_current_xact_id();
  end if;
end $$;
comment on function public.restore_jobs is 'Moves jobs back from the archive, with their retries';

-- Both are as they were, once what they may ask for has been taken out of the archive.
alter function public.accept_job(jsonb, jsonb, jsonb) rename to accept_known_job;
create function public.accept_job(p_job jsonb, p_audit jsonb, p_idempotency jsonb default null) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- As accept_known_job; a retry may be one of an archived job.
begin
  if p_job ->> 'retry_of' is not null then
    perform public.restore_jobs(array[(p_job ->> 'retry_of')::uuid]);
  end if;
  return public.accept_known_job(p_job, p_audit, p_idempotency);
end $$;
comment on function public.accept_job is 'Accepts a job: row, audit entry and idempotency key in one transaction';

alter function public.adopt_run(uuid, text, text, jsonb, text, text, timestamptz, integer, boolean) rename to adopt_known_run;
create function public.adopt_run(
  p_flow_run_id uuid, p_idempotency_key text, p_job_type text, p_parameters jsonb, p_origin text,
  p_exclusive_key text, p_scheduled_at timestamptz, p_attempt integer default 1, p_retry boolean default true
) returns public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- As adopt_known_run; the run may be one whose job is archived.
begin
  perform public.restore_jobs(array[p_flow_run_id,
    substring(p_idempotency_key from '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=$|/)')::uuid],
    p_flow_run_id);
  return public.adopt_known_run(p_flow_run_id, p_idempotency_key, p_job_type, p_parameters, p_origin, p_exclusive_key,
    p_scheduled_at, p_attempt, p_retry);
end $$;
comment on function public.adopt_run is 'Finds or makes the row of a flow run';

create or replace function public.list_jobs(
  p_filter jsonb, p_limit integer, p_offset integer default 0,
  p_before_at timestamptz default null, p_before_id uuid default null
) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
-- {"jobs": [rows, newest first by (created_at, id)], "total": n, "totalIsEstimate": bool}; of the archive where the
-- filter says "archived": true.
-- Conditions are added only where asked for, so that each combination gets a plan of its own. The total is exact to
-- 10,000; beyond that the planner's estimate stands in, because counting ten million rows takes seconds.
declare
  v_table text := case when (p_filter ->> 'archived')::boolean then 'public.scheduled_jobs_archive' else 'public.scheduled_jobs' end;
  v_where text := 'true';
  v_page text;
  v_jobs jsonb;
  v_total bigint;
  v_plan jsonb;
  v_estimate boolean := false;
begin
  if p_filter ? 'types' then v_where := v_where || ' and job_type = any (array(select jsonb_array_elements_text($1 -> ''types'')))'; end if;
  if p_filter ? 'statuses' then v_where := v_where || ' and status = any (array(select jsonb_array_elements_text($1 -> ''statuses'')))'; end if;
  if p_filter ? 'startedBy' then v_where := v_where || ' and started_by = any (array(select jsonb_array_elements_text($1 -> ''startedBy'')))'; end if;
  if p_filter ? 'parent' then v_where := v_where || ' and parent_id = ($1 ->> ''parent'')::uuid'; end if;
  if p_filter ? 'from' then v_where := v_where || ' and created_at >= ($1 ->> ''from'')::timestamptz'; end if;
  if p_filter ? 'to' then v_where := v_where || ' and created_at <= ($1 ->> ''to'')::timestamptz'; end if;

  v_page := v_where;
  if p_before_at is not null then v_page := v_page || ' and (created_at, id) < ($2, $3)'; end if;
  execute format(
    'select coalesce(jsonb_agg(to_jsonb(p) order by p.created_at desc, p.id desc), ''[]'') from
       (select * from %s where %s order by created_at desc, id desc limit $4 offset $5) p', v_table, v_page)
    using p_filter, p_before_at, p_before_id, p_limit, p_offset into v_jobs;

  execute format('select count(*) from (select from %s where %s limit 10001) c', v_table, v_where)
    using p_filter into v_total;
  if v_total > 10000 then
    execute format('explain (format json) select from %s where %s', v_table, v_where)
      using p_filter into v_plan;
    v_total := greatest(10001, (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
    v_estimate := true;
  end if;
  return jsonb_build_object('jobs', v_jobs, 'total', v_total, 'totalIsEstimate', v_estimate);
end $$;

create or replace function public.explain_job(p_id uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
-- {"job", "paused": reason | null, "maintenance", "holder": the job that holds the slot, "ahead": how many wait in front,
-- "retry": id of the job that tries this one again, "sweptSecondsAgo", "leaseSecondsAgo", "now"}; null without the job.
-- The job and its retry may be archived.
  select jsonb_build_object(
      'job', to_jsonb(j),
      'paused', public.pause_reason(),
      'maintenance', (select to_jsonb(m) from public.maintenance m),
      'holder', (select to_jsonb(h) from public.scheduled_jobs h
                   where h.exclusive_key = j.exclusive_key and h.slot_held and h.id <> j.id),
      'ahead', (select count(*) from public.scheduled_jobs a
                  where j.status = 'pending' and a.status = 'pending' and a.exclusive_key = j.exclusive_key
                    and a.slot_held is not true and a.origin is not null
                    and (public.priority_rank(a.priority), a.created_at, a.id)
                      < (public.priority_rank(j.priority), j.created_at, j.id)),
      'retry', (select r.id from (
                    select id, created_at from public.scheduled_jobs where retry_of = j.id
                    union all select id, created_at from public.scheduled_jobs_archive where retry_of = j.id) r
                  order by r.created_at desc limit 1),
      'sweptSecondsAgo', (select extract(epoch from now() - s.swept_at) from public.sweep_state s),
      'leaseSecondsAgo', extract(epoch from now() - j.locked_at),
      'now', now())
    from (
      select * from public.scheduled_jobs where id = p_id
      union all select * from public.scheduled_jobs_archive where id = p_id) j
$$;

revoke execute on function public.archive_jobs, public.restore_jobs, public.accept_job, public.adopt_run
  from public, anon, authenticated;
grant execute on function public.archive_jobs, public.restore_jobs, public.accept_job, public.adopt_run to service_role;

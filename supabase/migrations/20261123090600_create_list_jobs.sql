-- A page of jobs with its total, and what the shim knows of each deployed job type. Before the deploy.
set lock_timeout = '5s';

create function public.list_jobs(
  p_filter jsonb, p_limit integer, p_offset integer default 0,
  p_before_at timestamptz default null, p_before_id uuid default null
) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
-- {"jobs": [rows, newest first by (created_at, id)], "total": n, "totalIsEstimate": bool}.
-- Conditions are added only where asked for, so that each combination gets a plan of its own. The total is exact to
-- 10,000; beyond that the planner's estimate stands in, because counting ten million rows takes seconds.
declare
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
       (select * from public.scheduled_jobs where %s order by created_at desc, id desc limit $4 offset $5) p', v_page)
    using p_filter, p_before_at, p_before_id, p_limit, p_offset into v_jobs;

  execute format('select count(*) from (select from public.scheduled_jobs where %s limit 10001) c', v_where)
    using p_filter into v_total;
  if v_total > 10000 then
    execute format('explain (format json) select from public.scheduled_jobs where %s', v_where)
      using p_filter into v_plan;
    v_total := greatest(10001, (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
    v_estimate := true;
  end if;
  return jsonb_build_object('jobs', v_jobs, 'total', v_total, 'totalIsEstimate', v_estimate);
end $$;
comment on function public.list_jobs is 'A page of jobs, newest first, with a bounded total';

create index idx_scheduled_jobs_created_at_id on public.scheduled_jobs (created_at desc, id desc);
create index idx_scheduled_jobs_parent on public.scheduled_jobs (parent_id) where parent_id is not null;

create table public.job_types (
  job_type text primary key,
  deployment_id uuid not null,
  description text,
  parameter_schema jsonb not null,
  seen_at timestamptz not null default now()
);
comment on table public.job_types is 'Deployments as Prefect last told them, so that a trigger can be checked while Prefect is down';
alter table public.job_types enable row level security;
revoke all on public.job_types from anon, authenticated;
grant select, insert, update, delete on public.job_types to service_role;

revoke execute on function public.list_jobs from public, anon, authenticated;
grant execute on function public.list_jobs to service_role;

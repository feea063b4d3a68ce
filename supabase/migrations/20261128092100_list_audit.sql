-- A page of the audit, quick at a million entries whatever it is filtered by. Before the deploy.
set lock_timeout = '5s';

create index scheduler_audit_actor on public.scheduler_audit (actor, at desc, id desc);
create index scheduler_audit_action on public.scheduler_audit (action, at desc, id desc);
create index scheduler_audit_job_type on public.scheduler_audit (job_type, at desc, id desc) where job_type is not null;
create index scheduler_audit_job_id on public.scheduler_audit (job_id, at desc, id desc) where job_id is not null;

create function public.list_audit(
  p_filter jsonb, p_limit integer, p_offset integer default 0,
  p_before_at timestamptz default null, p_before_id bigint default null
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- {"entries": [rows, newest first by (at, id)], "total": n, "totalIsEstimate": bool}. As in list_jobs each combination of
-- conditions and values gets a plan of its own, and the total is exact to 10,000.
-- Volatile, because EXPLAIN is not allowed in a function that is not.
declare
  v_where text := 'true';
  v_page text;
  v_entries jsonb;
  v_total bigint;
  v_plan jsonb;
  v_estimate boolean := false;
begin
  if p_filter ? 'actor' then v_where := v_where || ' and actor = $1 ->> ''actor'''; end if;
  if p_filter ? 'action' then v_where := v_where || ' and action = $1 ->> ''action'''; end if;
  if p_filter ? 'type' then v_where := v_where || ' and job_type = $1 ->> ''type'''; end if;
  if p_filter ? 'jobId' then v_where := v_where || ' and job_id = ($1 ->> ''jobId'')::uuid'; end if;
  if p_filter ? 'from' then v_where := v_where || ' and at >= ($1 ->> ''from'')::timestamptz'; end if;
  if p_filter ? 'to' then v_where := v_where || ' and at <= ($1 ->> ''to'')::timestamptz'; end if;

  v_page := v_where;
  if p_before_at is not null then v_page := v_page || ' and (at, id) < ($2, $3)'; end if;
  execute format(
    'select coalesce(jsonb_agg(to_jsonb(p) order by p.at desc, p.id desc), ''[]'') from
       (select * from public.scheduler_audit where %s order by at desc, id desc limit $4 offset $5) p', v_page)
    using p_filter, p_before_at, p_before_id, p_limit, p_offset into v_entries;

  execute format('select count(*) from (select from public.scheduler_audit where %s limit 10001) c', v_where)
    using p_filter into v_total;
  if v_total > 10000 then
    execute format('explain (format json) select from public.scheduler_audit where %s', v_where)
      using p_filter into v_plan;
    v_total := greatest(10001, (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
    v_estimate := true;
  end if;
  return jsonb_build_object('entries', v_entries, 'total', v_total, 'totalIsEstimate', v_estimate);
end $$;
comment on function public.list_audit is 'A page of the audit, newest first, with a bounded total';

revoke execute on function public.list_audit from public, anon, authenticated;
grant execute on function public.list_audit to service_role;

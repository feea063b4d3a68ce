-- A page of jobs that costs the same with ten thousand rows and with ten million, whatever is asked for. Before the deploy.
-- As json and not as jsonb: the rows go out as they are written, and are not first taken to pieces and put together again.
-- Of fifty rows that was 1.0 of 1.3 ms. As a set of one: PostgREST would take a single value out of an array of its own
-- making, and parse all of it for that.
set lock_timeout = '5s';

drop function public.list_jobs(jsonb, integer, integer, timestamptz, uuid);

create function public.list_jobs(
  p_filter jsonb, p_limit integer, p_offset integer default 0,
  p_before_at timestamptz default null, p_before_id uuid default null
) returns setof json
-- Volatile for `explain`, which a stable function may not call: it failed as soon as there was something to estimate.
language plpgsql volatile security definer set search_path = ''
-- Every way through here is the end of an index: the others cost as much as the table is large.
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set jit = off as $$
-- {"jobs": [rows, newest first by (created_at, id)], "total": n, "totalIsEstimate": bool}; of the archive where the
-- filter says "archived": true.
-- A filter by type, status or user is answered by a range of an index for each combination of the three, read from its
-- new end, as far as the page needs, and merged. One condition on all rows would read past every row that does not match:
-- ten million of them, where nothing does. The total is exact to 10,000; beyond that it is the planner's estimate.
-- A range is said and sorted so that no other index has its order (from PostgreSQL 17 on, where an index keeps its order
-- under `any`). Under plain equality the newest of all rows are in that order too, and the planner, who does not know which
-- range is asked for, read those until enough of them were in it: for a rare status that was the whole table.
declare
  v_archived boolean := coalesce((p_filter ->> 'archived')::boolean, false);
  v_table text := case when v_archived then 'public.scheduled_jobs_archive j' else 'public.scheduled_jobs j' end;
  v_newest text := ' order by j.created_at desc, j.id desc limit $1 + $2';
  v_in_ranges boolean := p_filter ?| array['types', 'statuses', 'startedBy'] and not p_filter ? 'parent';
  v_types jsonb := p_filter -> 'types';
  v_statuses jsonb := coalesce(p_filter -> 'statuses', '["pending", "running", "completed", "failed", "cancelled"]');
  v_of text := '';    -- type, status and user, as a condition on all rows
  v_when text := '';  -- the rest of the filter
  v_below text := '';
  v_ranges text := '(select) one';
  v_range text := 'true';
  v_order text := '';
  v_keys text;
  v_page text;
  v_jobs json;
  v_found bigint;
  v_total bigint;
  v_plan jsonb;
begin
  if p_filter ? 'types' then v_of := v_of || format(' and j.job_type = any (%L)', array(select jsonb_array_elements_text(v_types))); end if;
  if p_filter ? 'statuses' then v_of := v_of || format(' and j.status = any (%L)', array(select jsonb_array_elements_text(v_statuses))); end if;
  if p_filter ? 'startedBy' then
    v_of := v_of || format(' and j.started_by = any (%L)', array(select jsonb_array_elements_text(p_filter -> 'startedBy')));
  end if;
  if p_filter ? 'parent' then v_when := v_when || format(' and j.parent_id = %L', p_filter ->> 'parent'); end if;
  if p_filter ? 'from' then v_when := v_when || format(' and j.created_at >= %L', (p_filter ->> 'from')::timestamptz); end if;
  if p_filter ? 'to' then v_when := v_when || format(' and j.created_at <= %L', (p_filter ->> 'to')::timestamptz); end if;
  if p_before_at is not null then v_below := format(' and (j.created_at, j.id) < (%L, %L)', p_before_at, p_before_id); end if;

  if v_in_ranges then
    v_types := coalesce(v_types, to_jsonb(array(select public.job_types_present(v_archived))));
    v_ranges := format('jsonb_array_elements_text(%L) t (type) cross join jsonb_array_elements_text(%L) s (status)', v_types, v_statuses);
    v_range := 'j.job_type = any (array[t.type]) and j.status = any (array[s.status])';
    v_order := 'j.job_type desc, j.status desc, ';
    if p_filter ? 'startedBy' then
      v_ranges := v_ranges || format(' cross join jsonb_array_elements_text(%L) u (name)', p_filter -> 'startedBy');
      v_range := v_range || ' and j.started_by = any (array[u.name]) and j.started_by is not null';
      v_order := 'j.started_by desc, ' || v_order;
    end if;
  else
    v_when := v_of || v_when;  -- of all rows, or of the few shards of one job
  end if;
  v_order := ' order by ' || v_order || 'j.created_at desc, j.id desc limit ';

  if p_offset <= 500 then
    v_page := 'select r.* from ' || v_ranges || ' cross join lateral (select j.* from ' || v_table
      || ' where ' || v_range || v_when || v_below || v_order || '$1 + $2) r
        order by r.created_at desc, r.id desc limit $1 offset $2';
  else
    -- So far down, only the index is read of the pages before. Planned range by range they are merged as they are read: no
    -- more of any is read than those pages need. That planning is worth it here only, because it takes as long as reading
    -- a page.
    v_keys := 'select j.created_at, j.id from ' || v_table || ' where true' || v_when || v_below || v_newest;
    if v_in_ranges then
      execute 'select string_agg(''(select j.created_at, j.id from '' || $1 || '' where ''
          || format(''j.job_type = %L and j.status = %L'', t.type, s.status)'
          || case when p_filter ? 'startedBy' then ' || format('' and j.started_by = %L'', u.name)' else '' end
          || ' || $2 || '')'', '' union all '') from ' || v_ranges
        using v_table, v_when || v_below || v_newest into v_keys;
    end if;
    v_page := 'select j.* from (select * from ('
      || coalesce(v_keys, 'select null::timestamptz as created_at, null::uuid as id')
      || ') r order by created_at desc, id desc limit $1 offset $2) k join ' || v_table || ' on j.id = k.id';
  end if;
  execute 'select json_agg(j order by j.created_at desc, j.id desc), count(*) from (' || v_page || ') j'
    using p_limit, p_offset into v_jobs, v_found;

  if v_found < p_limit and p_before_at is null and (v_found > 0 or p_offset = 0) then
    v_total := p_offset + v_found;  -- the last page says it
  else
    execute 'select count(*) from (select from ' || v_ranges || ' cross join lateral (select from ' || v_table
        || ' where ' || v_range || v_when || case when v_in_ranges then v_order else ' limit ' end || '10001) r limit 10001) c'
      into v_total;
  end if;
  if v_total > 10000 then
    execute 'explain (format json) select from ' || v_table || ' where true' || case when v_in_ranges then v_of else '' end || v_when
      into v_plan;
    v_total := greatest(v_total, (v_plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint);
  end if;
  return next json_build_object('jobs', coalesce(v_jobs, '[]'), 'total', v_total, 'totalIsEstimate', v_total > 10000);
end $$;
comment on function public.list_jobs is 'A page of jobs, newest first, with a bounded total';

revoke execute on function public.list_jobs from public, anon, authenticated;
grant execute on function public.list_jobs to service_role;

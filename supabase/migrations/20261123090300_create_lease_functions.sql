-- The lease: a run finds its row, takes it, renews it and ends it, each under a fencing number. Before the deploy.
set lock_timeout = '5s';

create function public.adopt_run(
  p_flow_run_id uuid, p_idempotency_key text, p_job_type text, p_parameters jsonb,
  p_origin text, p_exclusive_key text, p_scheduled_at timestamptz
) returns public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- The row of a flow run: by flow_run_id, else by the job id in its idempotency key, else a new one whose id is the run's.
declare
  v_job public.scheduled_jobs;
  v_key_id uuid := substring(p_idempotency_key from '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=$|/)')::uuid;
begin
  select * into v_job from public.scheduled_jobs where flow_run_id = p_flow_run_id
    order by attempt desc nulls last limit 1;
  if found then return v_job; end if;
  -- The type is compared because an idempotency key is free text to somebody who calls Prefect directly.
  select * into v_job from public.scheduled_jobs where id = v_key_id and job_type = p_job_type;
  if found then return v_job; end if;

  insert into public.scheduled_jobs
    (id, job_type, status, origin, flow_run_id, parameters, priority, exclusive_key, attempt, created_at)
  values
    (p_flow_run_id, p_job_type, 'pending', p_origin, p_flow_run_id, coalesce(p_parameters, '{}'), 'MEDIUM',
     p_exclusive_key, 0, coalesce(p_scheduled_at, clock_timestamp()))
  on conflict do nothing;
  select * into strict v_job from public.scheduled_jobs where id = p_flow_run_id;
  return v_job;
end $$;
comment on function public.adopt_run is 'Finds or makes the row of a flow run';

create function public.take_job(
  p_id uuid, p_flow_run_id uuid, p_attempt integer, p_worker text, p_parameters jsonb default null
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Parameters given here are the run's own, with every default filled in: what a retry copies.
-- Returns {"decision": "go" | "closed" | "taken" | "skip" | "wait", "fence": n | null, "reason": text | null}.
--   go      the caller has the lease, under the returned fence
--   closed  the job has ended (a cancel came first, or another run did it)
--   taken   another run, or a living process of this one, has the job
--   skip    a schedule found its gate held; the job is now cancelled
--   wait    the gate is held; the job stays pending and is dispatched again under its own id
declare
  v_job public.scheduled_jobs;
  v_holder uuid;
begin
  select * into v_job from public.scheduled_jobs where id = p_id for update;
  if not found then
    return jsonb_build_object('decision', 'closed', 'fence', null, 'reason', 'no such job');
  end if;
  if public.job_has_ended(v_job.status) then
    return jsonb_build_object('decision', 'closed', 'fence', null, 'reason', 'the job has ended as ' || v_job.status);
  end if;
  if v_job.flow_run_id is distinct from p_flow_run_id and v_job.flow_run_id is not null then
    return jsonb_build_object('decision', 'taken', 'fence', null,
      'reason', 'the job belongs to flow run ' || v_job.flow_run_id);
  end if;
  if v_job.status = 'running' and v_job.locked_at >= now() - public.lease_length()
     and coalesce(v_job.attempt, 0) >= p_attempt
     -- The holder itself asks again when it has not heard the answer; it gets a new fence.
     and v_job.locked_by is distinct from p_worker then
    return jsonb_build_object('decision', 'taken', 'fence', null,
      'reason', 'the lease is held by ' || coalesce(v_job.locked_by, 'another process'));
  end if;

  begin
    update public.scheduled_jobs set
      status = 'running', started_at = coalesce(started_at, now()), flow_run_id = p_flow_run_id, attempt = p_attempt,
      parameters = coalesce(p_parameters, parameters),
      locked_by = p_worker, locked_at = now(), fence = coalesce(fence, 0) + 1, pending_reason = null,
      slot_held = case when exclusive_key is not null then true end
    where id = p_id
    returning * into v_job;
  exception when unique_violation then
    select id into v_holder from public.scheduled_jobs where exclusive_key = v_job.exclusive_key and slot_held;
    if v_job.origin = 'schedule' then
      update public.scheduled_jobs set status = 'cancelled', flow_run_id = p_flow_run_id,
        error = format('skipped: job %s of this type had not ended', v_holder),
        result = '{"success": false, "itemsProcessed": 0, "errors": [], "details": {"skipped": true}}'
      where id = p_id;
      return jsonb_build_object('decision', 'skip', 'fence', null,
        'reason', format('skipped: job %s of this type had not ended', v_holder));
    end if;
    update public.scheduled_jobs set flow_run_id = null, dispatch_after = null, dispatches = coalesce(dispatches, 0) + 1,
      pending_reason = format('waiting for job %s to end', v_holder)
    where id = p_id;
    return jsonb_build_object('decision', 'wait', 'fence', null,
      'reason', format('waiting for job %s to end', v_holder));
  end;
  return jsonb_build_object('decision', 'go', 'fence', v_job.fence, 'reason', null);
end $$;
comment on function public.take_job is 'Takes the lease of a job for one run: the right to act for it, under a fencing number';

create function public.beat_job(p_id uuid, p_fence bigint, p_progress jsonb default null) returns text
language plpgsql security definer set search_path = '' as $$
-- Returns 'go', 'stop' (a cancel was asked for) or 'lost' (the job ended, or another run has it: record nothing more).
declare
  v_cancel timestamptz;
begin
  update public.scheduled_jobs set locked_at = now(), progress = coalesce(p_progress, progress)
    where id = p_id and fence = p_fence and status = 'running'
    returning cancel_requested_at into v_cancel;
  if not found then return 'lost'; end if;
  return case when v_cancel is null then 'go' else 'stop' end;
end $$;
comment on function public.beat_job is 'Renews a lease and records progress; answers whether to go on';

create function public.finish_job(p_id uuid, p_fence bigint, p_status text, p_result jsonb, p_error text default null)
returns boolean
language plpgsql security definer set search_path = '' as $$
-- True when the job stands ended by this fence as asked, also when an earlier call of the same end was not answered.
begin
  if not public.job_has_ended(p_status) then
    raise exception 'a job ends as completed, failed or cancelled, not as %', p_status using errcode = '22023';
  end if;
  update public.scheduled_jobs set
    status = p_status, result = p_result, error = p_error, completed_at = now(),
    progress = progress || jsonb_build_object('itemsProcessed', p_result -> 'itemsProcessed', 'phase', 'ended'),
    cancel_stopped_at = case when p_status = 'cancelled' then now() end,
    cancel_items_done = case when p_status = 'cancelled' then (p_result ->> 'itemsProcessed')::integer end,
    cancel_safe_to_retry = case when p_status = 'cancelled' then true end
  where id = p_id and fence = p_fence and status = 'running';
  if found then return true; end if;
  return exists (select from public.scheduled_jobs where id = p_id and fence = p_fence and status = p_status);
end $$;
comment on function public.finish_job is 'Ends a job under its lease; idempotent';

create function public.require_lease(p_id uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = '' as $$
-- For every function that claims or records: raises SJ001 unless (job, fence) holds a living lease, and keeps the sweep
-- from ending the job before the caller's transaction does.
begin
  perform 1 from public.scheduled_jobs
    where id = p_id and fence = p_fence and status = 'running' and locked_at >= now() - public.lease_length()
    for share;
  if not found then
    raise exception 'the lease of job % under fence % is not held any more', p_id, p_fence using errcode = 'SJ001';
  end if;
end $$;
comment on function public.require_lease is 'Raises SJ001 unless the job''s lease is held under this fence';

revoke execute on function public.adopt_run, public.take_job, public.beat_job, public.finish_job, public.require_lease
  from public, anon, authenticated;
grant execute on function public.adopt_run, public.take_job, public.beat_job, public.finish_job, public.require_lease
  to service_role;

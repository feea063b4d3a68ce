-- What a run decides from the database before any effect: whose row it is, and whether it may start. Before the deploy.
set lock_timeout = '5s';

drop function public.adopt_run(uuid, text, text, jsonb, text, text, timestamptz);
drop function public.take_job(uuid, uuid, integer, text, jsonb);
drop function public.record_dispatch(uuid, uuid);

create function public.adopt_run(
  p_flow_run_id uuid, p_idempotency_key text, p_job_type text, p_parameters jsonb, p_origin text,
  p_exclusive_key text, p_scheduled_at timestamptz, p_attempt integer default 1, p_retry boolean default true
) returns public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- The row of a flow run: by flow_run_id, else by the job id in its idempotency key, else a new one whose id is the run's.
-- A run that goes on after its row has ended was set going again by hand (Prefect's Retry): that is a job of its own,
-- with an id of its own, the same flow run and p_attempt. A run whose row was closed before it began, or cancelled or
-- skipped at any time, is none as long as the two have not been seen to agree (run_open): it goes on because it was
-- evicted, or because nobody has told it yet, and finds its row closed.
-- p_retry false: an ended row is returned as it is.
declare
  v_job public.scheduled_jobs;
  v_id uuid := gen_random_uuid();
  v_key_id uuid := substring(p_idempotency_key from '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=$|/)')::uuid;
begin
  select * into v_job from public.scheduled_jobs where flow_run_id = p_flow_run_id
    order by attempt desc nulls last limit 1;
  if found and p_retry and public.job_has_ended(v_job.status) and p_attempt > coalesce(v_job.attempt, 0)
     and (v_job.run_open is not true or (coalesce(v_job.attempt, 0) > 0 and v_job.status <> 'cancelled')) then
    insert into public.scheduled_jobs
      (id, job_type, status, origin, flow_run_id, run_open, parameters, priority, exclusive_key, attempt, retry_of)
    values
      (v_id, p_job_type, 'pending', 'prefect', p_flow_run_id, true, coalesce(p_parameters, '{}'), v_job.priority,
       p_exclusive_key, p_attempt, v_job.id)
    on conflict do nothing;
    if found then
      -- Somebody has it tried again already, and its run is another job's from now on.
      update public.scheduled_jobs set recover_at = null, run_open = false
        where id = v_job.id and (recover_at is not null or run_open);
      insert into public.scheduler_audit (actor, action, job_id, job_type, parameters, outcome, details)
        values ('prefect', 'retry', v_id, p_job_type, p_parameters, 'accepted', jsonb_build_object('retryOf', v_job.id));
    end if;
    select * into strict v_job from public.scheduled_jobs where flow_run_id = p_flow_run_id
      order by attempt desc nulls last limit 1;
    return v_job;
  end if;
  if v_job.id is not null then return v_job; end if;
  -- The type is compared because an idempotency key is free text to somebody who calls Prefect directly.
  select * into v_job from public.scheduled_jobs where id = v_key_id and job_type = p_job_type;
  if found then return v_job; end if;

  insert into public.scheduled_jobs
    (id, job_type, status, origin, flow_run_id, run_open, parameters, priority, exclusive_key, attempt, created_at)
  values
    (p_flow_run_id, p_job_type, 'pending', p_origin, p_flow_run_id, true, coalesce(p_parameters, '{}'), 'MEDIUM',
     p_exclusive_key, 0, coalesce(p_scheduled_at, clock_timestamp()))
  on conflict do nothing;
  if found and p_origin = 'prefect' then
    insert into public.scheduler_audit (actor, action, job_id, job_type, parameters, outcome)
      values ('prefect', 'trigger', p_flow_run_id, p_job_type, p_parameters, 'accepted');
  end if;
  select * into strict v_job from public.scheduled_jobs where id = p_flow_run_id;
  return v_job;
end $$;
comment on function public.adopt_run is 'Finds or makes the row of a flow run';

create function public.close_at_start(p_id uuid, p_flow_run_id uuid, p_attempt integer, p_error text, p_details jsonb)
returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  update public.scheduled_jobs set status = 'cancelled', flow_run_id = p_flow_run_id, attempt = p_attempt, error = p_error,
    result = jsonb_build_object('success', false, 'itemsProcessed', 0, 'errors', '[]'::jsonb, 'details', p_details)
  where id = p_id;
  return jsonb_build_object('decision', 'skip', 'fence', null, 'reason', p_error);
end $$;
comment on function public.close_at_start is 'Cancels a scheduled job that is not to run, and says why';

create function public.send_back(p_id uuid, p_reason text) returns jsonb
language plpgsql security definer set search_path = '' as $$
begin
  update public.scheduled_jobs set flow_run_id = null, slot_held = null, dispatch_after = null,
    dispatches = coalesce(dispatches, 0) + 1, pending_reason = p_reason
  where id = p_id;
  return jsonb_build_object('decision', 'wait', 'fence', null, 'reason', p_reason);
end $$;
comment on function public.send_back is 'Lets a job wait under its own id: it is dispatched again when it may start';

create function public.take_job(
  p_id uuid, p_flow_run_id uuid, p_attempt integer, p_worker text, p_parameters jsonb default null,
  p_max_run_seconds integer default null, p_later_fire_at timestamptz default null
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Parameters given here are the run's own, with every default filled in: what a retry copies. p_later_fire_at is the
-- latest fire of the same schedule that is due already, where there is one.
-- Returns {"decision": "go" | "closed" | "taken" | "skip" | "wait", "fence": n | null, "reason": text | null}.
--   go      the caller has the lease, under the returned fence
--   closed  the job has ended (a cancel came first, or another run did it)
--   taken   another run, or a living process of this one, has the job
--   skip    a schedule that is disabled, superseded by a later fire, or found its gate held; the job is now cancelled
--   wait    everything is paused or the gate is held; the job stays pending and is dispatched again under its own id
declare
  v_job public.scheduled_jobs;
  v_holder uuid;
  v_paused text := public.pause_reason();
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
  if v_job.status = 'running' and coalesce(v_job.attempt, 0) > p_attempt then
    -- Also one whose lease is dead: the run has gone on without this process.
    return jsonb_build_object('decision', 'taken', 'fence', null, 'reason', 'a later attempt of this run has the job');
  end if;
  if v_job.status = 'running' and v_job.locked_at >= now() - public.lease_length() and v_job.lease_ends_at is null
     and v_job.lease_note is null
     and coalesce(v_job.attempt, 0) >= p_attempt
     -- The holder itself asks again when it has not heard the answer; it gets a new fence.
     and v_job.locked_by is distinct from p_worker then
    return jsonb_build_object('decision', 'taken', 'fence', null,
      'reason', 'the lease is held by ' || coalesce(v_job.locked_by, 'another process'));
  end if;
  if v_job.status = 'running' and v_job.cancel_requested_at is not null then
    return jsonb_build_object('decision', 'closed', 'fence', null, 'reason', 'the job is being cancelled');
  end if;

  if v_job.status = 'pending' then
    if v_job.origin = 'schedule' and exists (
         select from public.schedule_overrides o where o.job_type = v_job.job_type and o.enabled is false) then
      return public.close_at_start(p_id, p_flow_run_id, p_attempt, 'disabled: the schedule is switched off',
        '{"disabled": true}');
    end if;
    if v_job.origin = 'schedule' and p_later_fire_at is not null then
      return public.close_at_start(p_id, p_flow_run_id, p_attempt,
        format('superseded: a later fire of this schedule, %s, is due as well',
               to_char(p_later_fire_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
        '{"superseded": true}');
    end if;
    if v_job.origin = 'schedule' and exists (
         select from public.scheduled_jobs o
           where o.job_type = v_job.job_type and o.origin = 'schedule' and o.status = 'pending' and o.flow_run_id is null
             and o.id <> p_id and o.created_at > v_job.created_at) then
      -- Fires come in any order, and may be held back at once: the older one sees it here at the latest.
      return public.close_at_start(p_id, p_flow_run_id, p_attempt,
        'superseded: a later fire of this schedule waits to run', '{"superseded": true}');
    end if;
    if v_paused is not null then
      if v_job.origin = 'schedule' then
        -- Of the fires that a pause holds back only the latest runs after it.
        update public.scheduled_jobs set status = 'cancelled',
          error = 'superseded: a later fire of this schedule waits to run',
          result = '{"success": false, "itemsProcessed": 0, "errors": [], "details": {"superseded": true}}'
        where job_type = v_job.job_type and origin = 'schedule' and status = 'pending' and flow_run_id is null
          and id <> p_id and created_at <= v_job.created_at;
      end if;
      return public.send_back(p_id, v_paused);
    end if;
  end if;

  begin
    update public.scheduled_jobs set
      status = 'running', started_at = coalesce(started_at, now()), flow_run_id = p_flow_run_id, attempt = p_attempt,
      parameters = coalesce(p_parameters, parameters), max_run_seconds = coalesce(p_max_run_seconds, max_run_seconds),
      locked_by = p_worker, locked_at = now(), fence = coalesce(fence, 0) + 1, pending_reason = null,
      lease_ends_at = null, lease_note = null, run_open = true,
      slot_held = case when exclusive_key is not null then true end
    where id = p_id
    returning * into v_job;
  exception when unique_violation then
    select id into v_holder from public.scheduled_jobs
      where exclusive_key = v_job.exclusive_key and slot_held and id <> p_id;
    if v_holder is null then
      -- It ended this instant, or the attempt is another row's: the run is of no use either way.
      return public.send_back(p_id, 'waiting for its turn');
    end if;
    if v_job.origin = 'schedule' then
      return public.close_at_start(p_id, p_flow_run_id, p_attempt,
        format('skipped: job %s of this type had not ended', v_holder), '{"skipped": true}');
    end if;
    return public.send_back(p_id, format('waiting for job %s to end', v_holder));
  end;
  return jsonb_build_object('decision', 'go', 'fence', v_job.fence, 'reason', null);
end $$;
comment on function public.take_job is 'Takes the lease of a job for one run: the right to act for it, under a fencing number';

create or replace function public.accept_job(p_job jsonb, p_audit jsonb, p_idempotency jsonb default null) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Returns {"outcome": "accepted" | "replayed" | "mismatch" | "conflict", "job": <row as it was accepted>, "reason"}.
-- A second call with the same idempotency key waits for the first one's transaction: the primary key holds it.
-- With retry_of the new job is another try of that one: it must have failed or been cancelled, and have no retry yet;
-- otherwise "conflict" says why (job is null where there is no such job) and nothing is kept but the audit entry.
declare
  v_id uuid := coalesce((p_job ->> 'id')::uuid, gen_random_uuid());
  v_job public.scheduled_jobs;
  v_earlier public.idempotency_keys;
  v_first public.scheduled_jobs;
  v_conflict text;
  v_other uuid;
begin
  if p_idempotency is not null then
    delete from public.idempotency_keys
      where actor = p_idempotency ->> 'actor' and route = p_idempotency ->> 'route' and key = p_idempotency ->> 'key'
        and created_at < now() - interval '24 hours';
    insert into public.idempotency_keys (actor, route, key, fingerprint, job_id, answer)
      values (p_idempotency ->> 'actor', p_idempotency ->> 'route', p_idempotency ->> 'key',
              p_idempotency ->> 'fingerprint', v_id, '{}')
      on conflict do nothing;
    if not found then
      select * into strict v_earlier from public.idempotency_keys
        where actor = p_idempotency ->> 'actor' and route = p_idempotency ->> 'route' and key = p_idempotency ->> 'key';
      return jsonb_build_object(
        'outcome', case when v_earlier.fingerprint = p_idempotency ->> 'fingerprint' then 'replayed' else 'mismatch' end,
        'job', v_earlier.answer);
    end if;
  end if;

  if p_job ? 'retry_of' and p_job ->> 'retry_of' is not null then
    select * into v_first from public.scheduled_jobs where id = (p_job ->> 'retry_of')::uuid for update;
    if not found then
      v_conflict := 'no such job';
    elsif v_first.status not in ('failed', 'cancelled') then
      v_conflict := format('job %s is %s: only a failed or cancelled job can be retried', v_first.id, v_first.status);
    elsif not coalesce(p_job -> 'known_types' ? v_first.job_type, true) then
      v_conflict := format('job %s is of type %s, which is not known any more', v_first.id, v_first.job_type);
    else
      select id into v_other from public.scheduled_jobs
        where retry_of = v_first.id and origin in ('dashboard', 'recovery');
      if found then
        v_conflict := format('job %s has been retried already, as job %s', v_first.id, v_other);
      end if;
    end if;
    if v_conflict is not null then
      delete from public.idempotency_keys
        where actor = p_idempotency ->> 'actor' and route = p_idempotency ->> 'route' and key = p_idempotency ->> 'key';
      if v_first.id is not null then
        insert into public.scheduler_audit (actor, action, job_id, job_type, parameters, outcome, details)
          values (p_audit ->> 'actor', p_audit ->> 'action', v_first.id, v_first.job_type, v_first.parameters, 'refused',
                  jsonb_build_object('reason', v_conflict));
      end if;
      return jsonb_build_object('outcome', 'conflict', 'reason', v_conflict,
        'job', case when v_first.id is not null then to_jsonb(v_first) end);
    end if;
    -- A retry is the same work again: what is not said anew is copied.
    p_job := jsonb_build_object('job_type', v_first.job_type, 'parameters', coalesce(v_first.parameters, '{}'),
        'priority', v_first.priority,
        -- Rows of the published scheduler have no key; their type is it.
        'exclusive_key', coalesce(v_first.exclusive_key, case when v_first.origin is null then v_first.job_type end))
      || jsonb_strip_nulls(p_job);
    update public.scheduled_jobs set recover_at = null where id = v_first.id and recover_at is not null;
  end if;

  insert into public.scheduled_jobs
    (id, job_type, status, started_by, origin, parameters, priority, retry_of, parent_id, exclusive_key, attempt,
     recoveries, created_at)
  values
    (v_id, p_job ->> 'job_type', 'pending', p_job ->> 'started_by', p_job ->> 'origin',
     coalesce(p_job -> 'parameters', '{}'), coalesce(p_job ->> 'priority', 'MEDIUM'),
     (p_job ->> 'retry_of')::uuid, (p_job ->> 'parent_id')::uuid, p_job ->> 'exclusive_key', 0,
     (p_job ->> 'recoveries')::integer, clock_timestamp())
  returning * into v_job;

  insert into public.scheduler_audit (actor, action, job_id, job_type, parameters, outcome, details)
    values (p_audit ->> 'actor', p_audit ->> 'action', v_id, v_job.job_type, v_job.parameters, 'accepted',
            p_audit -> 'details');

  if p_idempotency is not null then
    update public.idempotency_keys set answer = to_jsonb(v_job)
      where actor = p_idempotency ->> 'actor' and route = p_idempotency ->> 'route' and key = p_idempotency ->> 'key';
  end if;
  return jsonb_build_object('outcome', 'accepted', 'job', to_jsonb(v_job));
end $$;

create function public.record_dispatch(p_id uuid, p_flow_run_id uuid, p_dispatches integer default null) returns text
language plpgsql security definer set search_path = '' as $$
-- Returns the job's status: a caller that sees an ended one cancels the run it has just created.
-- p_dispatches is the job's count when the run was created. The run may have begun and been sent back before this call
-- arrives: a higher count tells, and the job waits for its next run.
declare
  v_status text;
begin
  update public.scheduled_jobs set flow_run_id = p_flow_run_id, attempt = 0, pending_reason = 'waiting for a worker'
    where id = p_id and status = 'pending' and flow_run_id is null
      and coalesce(dispatches, 0) = coalesce(p_dispatches, dispatches, 0);
  select status into v_status from public.scheduled_jobs where id = p_id;
  return v_status;
end $$;
comment on function public.record_dispatch is 'Notes the flow run of a dispatched job';

revoke execute on function public.adopt_run, public.close_at_start, public.send_back, public.take_job,
  public.record_dispatch from public, anon, authenticated;
grant execute on function public.adopt_run, public.close_at_start, public.send_back, public.take_job,
  public.record_dispatch to service_role;

-- Every end that a job does not write itself: cancel, a lease given up, a process that is gone, a lease that died, a run
-- over its time; and the second life of what died. Before the deploy.
set lock_timeout = '5s';

drop function public.reap_dead_leases();
drop function public.close_unstarted_job(uuid, uuid, text, text);
drop function public.give_up_unstarted(uuid, uuid, text);

create function public.cancel_job(p_id uuid, p_by text, p_actor text) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Returns {"outcome": "unknown" | "cancelled" | "cancelling" | "already" | "ended", "job": row | null}. A pending job is
-- cancelled at once, whatever has become of its flow run; a running one is told to stop by its next beat, and is
-- cancelled when its process has stopped or is fenced off. Asked again, it says the same; who asked first stays.
declare
  v_job public.scheduled_jobs;
  v_outcome text;
  v_error text;
  v_asked boolean;
begin
  select * into v_job from public.scheduled_jobs where id = p_id for update;
  if not found then return jsonb_build_object('outcome', 'unknown', 'job', null); end if;
  v_asked := v_job.cancel_requested_at is not null;
  if v_job.status = 'pending' or (v_job.status = 'running' and v_job.fence is null) then
    v_outcome := 'cancelled';
    -- A running row without a fence was left by the published scheduler: there is no process to wait for.
    v_error := case v_job.status when 'pending' then 'cancelled before it started'
                                 else 'cancelled: left running by an earlier scheduler, no process holds it' end;
    update public.scheduled_jobs set status = 'cancelled', error = v_error,
      cancel_requested_by = p_by, cancel_requested_at = clock_timestamp(), cancel_stopped_at = clock_timestamp(),
      cancel_items_done = 0, cancel_safe_to_retry = true,
      result = jsonb_build_object('success', false, 'itemsProcessed', 0, 'errors', jsonb_build_array(v_error),
                                  'details', '{}'::jsonb)
    where id = p_id returning * into v_job;
  elsif v_job.status = 'running' then
    v_outcome := 'cancelling';
    update public.scheduled_jobs set cancel_requested_by = p_by, cancel_requested_at = clock_timestamp()
    where id = p_id and cancel_requested_at is null returning * into v_job;
    if not found then select * into v_job from public.scheduled_jobs where id = p_id; end if;
  else
    v_outcome := case v_job.status when 'cancelled' then 'already' else 'ended' end;
  end if;
  if p_actor is not null and not (p_actor = 'prefect' and (v_asked or v_outcome in ('already', 'ended'))) then
    insert into public.scheduler_audit (actor, action, job_id, job_type, outcome)
      values (p_actor, 'cancel', p_id, v_job.job_type, case v_outcome when 'ended' then 'refused' else v_outcome end);
  end if;
  return jsonb_build_object('outcome', v_outcome, 'job', to_jsonb(v_job));
end $$;
comment on function public.cancel_job is 'Cancels a pending job, or tells a running one to stop; with its audit entry';

create or replace function public.finish_job(
  p_id uuid, p_fence bigint, p_status text, p_result jsonb, p_error text default null
) returns boolean
language plpgsql security definer set search_path = '' as $$
-- True when the job stands ended by this fence as asked, also when an earlier call of the same end was not answered.
-- A process that stops because it was told to does not come here: give_up_lease lets its job end when it is gone.
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
  -- An end that was written for this process by somebody else, as a death, is another one.
  return exists (select from public.scheduled_jobs
    where id = p_id and fence = p_fence and status = p_status and result = p_result);
end $$;

create function public.give_up_lease(
  p_id uuid, p_fence bigint, p_note text, p_progress jsonb default null, p_seconds double precision default null
) returns boolean
language plpgsql security definer set search_path = '' as $$
-- The last word of a process that must stop: it records nothing more (the fence is raised) and is gone within
-- p_seconds (null: as long as a lease lives). The job stays running: whoever waits for the process ends it when it is
-- gone, a later attempt of the same run may take it at once, and after p_seconds the sweep ends it.
-- True when the lease was held, also when an earlier call of the same end was not answered.
declare
  v_job public.scheduled_jobs;
begin
  update public.scheduled_jobs set fence = p_fence + 1, lease_note = p_note, locked_at = now(),
      progress = coalesce(p_progress, progress), lease_ends_at = clock_timestamp() + make_interval(secs => p_seconds)
    where id = p_id and fence = p_fence and status = 'running';
  if found then return true; end if;
  return exists (select from public.scheduled_jobs where id = p_id and fence = p_fence + 1 and lease_note = p_note);
end $$;
comment on function public.give_up_lease is 'Gives a lease up without ending the job: the process is about to be gone';

create function public.bury_job(
  p_flow_run_id uuid, p_worker text, p_reason text, p_by_itself boolean default false, p_cancelled boolean default false
) returns text
language plpgsql security definer set search_path = '' as $$
-- Said by whoever has waited for the process p_worker of a flow run and knows it gone. Returns the job's status then;
-- null where the run has no job, or another process has it: also a job that waits for the next attempt, when the process
-- had an earlier one of this run. p_by_itself: it ended in good order, so that a job it never took is none of its dead.
-- p_cancelled: it was ended because somebody cancelled the run in Prefect.
declare
  v_job public.scheduled_jobs;
begin
  select * into v_job from public.scheduled_jobs where flow_run_id = p_flow_run_id
    order by attempt desc nulls last limit 1 for update;
  if not found then return null; end if;
  if v_job.status = 'running' and v_job.locked_by is distinct from p_worker then return null; end if;
  if v_job.status = 'pending' and exists (
       select from public.scheduled_jobs e where e.flow_run_id = p_flow_run_id and e.locked_by = p_worker) then
    return null;
  end if;
  if p_cancelled and not public.job_has_ended(v_job.status) then
    perform public.cancel_job(v_job.id, 'prefect', 'prefect');
  end if;
  if v_job.status = 'running' then
    -- Told late, as after an outage, a death is as old as the last beat.
    return (public.end_without_process(v_job.id, p_reason, v_job.locked_at)).status;
  end if;
  if v_job.status = 'pending' and not p_by_itself then
    perform public.close_unstarted_job(v_job.id, p_flow_run_id, 'failed', p_reason, true);
  end if;
  return (select status from public.scheduled_jobs where id = v_job.id);
end $$;
comment on function public.bury_job is 'Ends the job of a process that is known to be gone';

create function public.bury_silent_job(p_id uuid, p_flow_run_id uuid, p_locked_at timestamptz, p_reason text) returns boolean
language plpgsql security definer set search_path = '' as $$
-- For a job whose flow run Prefect calls dead: true, and ended, if it has not beaten since p_locked_at.
begin
  perform 1 from public.scheduled_jobs
    where id = p_id and flow_run_id = p_flow_run_id and status = 'running' and locked_at = p_locked_at for update;
  if not found then return false; end if;
  perform public.end_without_process(p_id, p_reason, p_locked_at);
  return true;
end $$;
comment on function public.bury_silent_job is 'Ends a job that is called dead and has stopped beating';

create function public.close_unstarted_job(
  p_id uuid, p_flow_run_id uuid, p_status text, p_error text, p_died boolean default false
) returns boolean
language plpgsql security definer set search_path = '' as $$
-- Until a process has taken the lease, Prefect's terminal states move the row. A null run closes a job that has none.
-- p_died: it is tried again. A cancel that came from Prefect leaves the receipt that every cancel leaves.
begin
  update public.scheduled_jobs j set status = p_status, error = p_error,
      died = case when p_died then true end,
      recover_at = case when p_died then public.recovery_time(j) end,
      cancel_requested_by = case when p_status = 'cancelled' then 'prefect' end,
      cancel_requested_at = case when p_status = 'cancelled' then clock_timestamp() end,
      cancel_stopped_at = case when p_status = 'cancelled' then clock_timestamp() end,
      cancel_items_done = case when p_status = 'cancelled' then 0 end,
      cancel_safe_to_retry = case when p_status = 'cancelled' then true end,
      result = jsonb_build_object('success', p_status = 'completed', 'itemsProcessed', 0, 'errors',
        case when p_error is null then '[]'::jsonb else jsonb_build_array(p_error) end,
        'details', case when p_died then '{"died": true}'::jsonb else '{}'::jsonb end)
    where id = p_id and flow_run_id is not distinct from p_flow_run_id and status = 'pending';
  if not found then return false; end if;
  if p_status = 'cancelled' then
    insert into public.scheduler_audit (actor, action, job_id, job_type, outcome)
      select 'prefect', 'cancel', id, job_type, 'cancelled' from public.scheduled_jobs where id = p_id;
  end if;
  return true;
end $$;
comment on function public.close_unstarted_job is 'Ends a job whose run ended before any process took its lease';

create function public.give_up_unstarted(p_id uuid, p_flow_run_id uuid, p_error text) returns boolean
language plpgsql security definer set search_path = '' as $$
-- For a job whose run a worker took on and no process has begun. Like a lease, it gets its full time again after the
-- database was away: its process may be waiting for it.
begin
  return exists (select from public.sweep_state where swept_at > now() - interval '20 seconds' and grace_until <= now())
     and public.close_unstarted_job(p_id, p_flow_run_id, 'failed', p_error, true);
end $$;
comment on function public.give_up_unstarted is 'Fails a job whose run was taken on by a worker and never begun';

create function public.reap_dead_leases() returns setof public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- Ends jobs whose lease is dead: not renewed for a lease's length, given up and its time over, or far over the maximum
-- run time (its process should have ended itself 20 s after that).
-- Runs that could not renew because the database was away are not dead: after a gap between sweeps (nobody swept because
-- nobody could) every lease gets its full length again.
-- Running rows without a lease, and pending ones without an origin, were left by the published scheduler; the longest
-- job it had could run 6 hours.
declare
  v_state public.sweep_state;
  v_dead record;
  v_grace boolean;
begin
  -- Asked first: an insert, even one with on conflict, would wait for another replica's sweep.
  if not exists (select from public.sweep_state) then
    insert into public.sweep_state default values on conflict do nothing;
  end if;
  select * into v_state from public.sweep_state for update skip locked;
  if not found then return; end if;
  if v_state.swept_at is null or v_state.swept_at < now() - interval '20 seconds' then
    v_state.grace_until := now() + public.lease_length();
  end if;
  update public.sweep_state set swept_at = now(), grace_until = v_state.grace_until;
  v_grace := now() < v_state.grace_until;

  for v_dead in
    select j.id, j.locked_at, format('lease lost: no sign of life from %s since %s', coalesce(j.locked_by, 'its worker'),
        to_char(j.locked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) as reason
      from public.scheduled_jobs j
      where j.status = 'running' and j.fence is not null
        and (j.lease_ends_at <= now()
          or (not v_grace and (j.locked_at < now() - public.lease_length()
            -- Silent since before that moment, it is not known to be over its time: its lease decides.
            or (public.longest_run(j) < now() - interval '60 seconds' and public.longest_run(j) < j.locked_at))))
      for update skip locked
  loop
    return next public.end_without_process(v_dead.id, v_dead.reason, v_dead.locked_at);
  end loop;
  if v_grace then return; end if;

  return query
    update public.scheduled_jobs j set
      status = 'failed',
      error = d.reason,
      result = jsonb_build_object('success', false, 'itemsProcessed', 0, 'errors', jsonb_build_array(d.reason),
        'details', jsonb_build_object('died', true))
    from (
      select id, format('left %s by an earlier scheduler: no process holds it', status) as reason
      from public.scheduled_jobs
      where (status = 'running' and fence is null and coalesce(locked_at, started_at, created_at) < now() - interval '6 hours')
        or (status = 'pending' and origin is null and created_at < now() - interval '6 hours')
      for update skip locked
    ) d
    where j.id = d.id
    returning j.*;
end $$;
comment on function public.reap_dead_leases is 'Ends jobs whose lease is dead; returns them';

create function public.recover_dead_jobs(p_limit integer, p_not text[] default '{}') returns setof public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- Tries dead jobs again whose time has come, each as a new job; returns those. Types in p_not are left dead.
declare
  v_dead public.scheduled_jobs;
  v_answer jsonb;
begin
  for v_dead in
    select * from public.scheduled_jobs where recover_at <= now() order by recover_at limit p_limit
      for update skip locked
  loop
    update public.scheduled_jobs set recover_at = null where id = v_dead.id;
    continue when v_dead.job_type = any (p_not);
    v_answer := public.accept_job(
      jsonb_build_object('retry_of', v_dead.id, 'origin', 'recovery', 'recoveries', coalesce(v_dead.recoveries, 0) + 1),
      jsonb_build_object('actor', 'scheduler', 'action', 'recover', 'details', jsonb_build_object('retryOf', v_dead.id)));
    if v_answer ->> 'outcome' = 'accepted' then
      return query select * from public.scheduled_jobs where id = (v_answer -> 'job' ->> 'id')::uuid;
    end if;
  end loop;
end $$;
comment on function public.recover_dead_jobs is 'Accepts a new job for each dead one whose time has come';

create function public.runs_to_end(p_flow_run_ids uuid[]) returns table (flow_run_id uuid, grace_seconds integer, reason text)
language sql stable security definer set search_path = '' as $$
-- For a worker: which of its runs' processes must be ended now, because their own way to stop has not worked. Told to
-- stop 10 s ago, 10 s over their time, or ended in the row by somebody else (a dead lease) and still there.
  select a.run, case when public.job_has_ended(j.status) then 2 else 10 end,
      case when j.cancel_requested_at is not null then 'cancelled while running'
           when j.status = 'running' then 'ran longer than ' || make_interval(secs => j.max_run_seconds)
           else coalesce(j.error, 'its job had ended') end
    from unnest(p_flow_run_ids) a (run)
    join lateral (select * from public.scheduled_jobs s where s.flow_run_id = a.run
                    order by s.attempt desc nulls last limit 1) j on true
    where (j.status = 'running' and (j.cancel_requested_at < now() - interval '10 seconds'
             or public.longest_run(j) < now() - interval '10 seconds'))
       -- A run that has just written its end itself is still telling Prefect.
       or (public.job_has_ended(j.status)
           and j.completed_at < now() - case when j.died or j.status = 'cancelled' then interval '5 seconds'
                                             else interval '2 minutes' end)
$$;
comment on function public.runs_to_end is 'Runs of a worker whose processes have not stopped by themselves';

create function public.open_runs(p_limit integer) returns setof public.scheduled_jobs
language sql stable security definer set search_path = '' as $$
  select * from public.scheduled_jobs
    where run_open and flow_run_id is not null
      -- A run that has just been dispatched, or has just written its end itself, is about to tell Prefect.
      and updated_at < now() - case when status = 'pending' then interval '5 seconds'
                                    when status = 'completed' or (status = 'failed' and died is not true)
                                      then interval '1 second'
                                    else interval '0' end
    order by updated_at limit p_limit
$$;
comment on function public.open_runs is 'Jobs whose flow run is to be compared with the row';

create function public.jobs_of_runs(p_flow_run_ids uuid[]) returns setof public.scheduled_jobs
language sql stable security definer set search_path = '' as $$
  select j.* from unnest(p_flow_run_ids) a (run)
    join lateral (select * from public.scheduled_jobs s where s.flow_run_id = a.run
                    order by s.attempt desc nulls last limit 1) j on true
$$;
comment on function public.jobs_of_runs is 'The newest job of each flow run that has one';

create function public.close_run(p_id uuid, p_flow_run_id uuid) returns void
language sql security definer set search_path = '' as $$
  update public.scheduled_jobs set run_open = false
    where id = p_id and flow_run_id = p_flow_run_id and run_open and public.job_has_ended(status)
$$;
comment on function public.close_run is 'Notes that Prefect and the row of an ended job agree';

create function public.note_put_right(p_id uuid, p_job_type text, p_details jsonb) returns void
language sql security definer set search_path = '' as $$
  insert into public.scheduler_audit (actor, action, job_id, job_type, outcome, details)
    values ('prefect', 'change_state', p_id, p_job_type, 'put right', p_details)
$$;
comment on function public.note_put_right is 'Audits a state that somebody changed in Prefect and that was put right';

create or replace function public.claim_dispatch(p_limit integer) returns setof public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- Grants free slots (HIGH first, then oldest), then hands out jobs that need a flow run. A job handed out stays with
-- that replica for 15 s; if its run was created but not recorded, the idempotency key finds the same run again.
-- While everything is paused nothing is handed out, and every job says so.
declare
  v_next record;
  v_paused text := public.pause_reason();
begin
  if v_paused is not null then
    update public.scheduled_jobs set pending_reason = v_paused
      where status = 'pending' and flow_run_id is null and origin is not null
        and pending_reason is distinct from v_paused;
    return;
  end if;
  update public.scheduled_jobs set pending_reason = null
    where status = 'pending' and flow_run_id is null and pending_reason like 'paused%';

  for v_next in
    select distinct on (w.exclusive_key) w.id from public.scheduled_jobs w
      where w.status = 'pending' and w.flow_run_id is null and w.exclusive_key is not null and w.slot_held is not true
        and w.origin is not null
        and not exists (select from public.scheduled_jobs h where h.exclusive_key = w.exclusive_key and h.slot_held)
      order by w.exclusive_key, public.priority_rank(w.priority), w.created_at, w.id
  loop
    begin
      update public.scheduled_jobs set slot_held = true
        where id = v_next.id and status = 'pending' and flow_run_id is null;
    exception when unique_violation then
      null;  -- Another replica, or a run that started by itself, was first.
    end;
  end loop;

  update public.scheduled_jobs w set pending_reason = format('waiting for job %s to end', h.id)
    from public.scheduled_jobs h
    where w.status = 'pending' and w.flow_run_id is null and w.slot_held is not true
      and h.exclusive_key = w.exclusive_key and h.slot_held
      and w.pending_reason is distinct from format('waiting for job %s to end', h.id);

  return query
    -- Materialized: as a condition of the update it could be asked once a row, and each time pass over what it has
    -- locked already, so that more than p_limit were handed out.
    with due as materialized (
      select d.id from public.scheduled_jobs d
        where d.status = 'pending' and d.flow_run_id is null and (d.exclusive_key is null or d.slot_held)
          -- Rows without an origin were accepted by the published scheduler, for a run of its own.
          and d.origin is not null
          and (d.dispatch_after is null or d.dispatch_after <= now())
        order by public.priority_rank(d.priority), d.created_at, d.id
        limit p_limit for update skip locked),
    handed_out as (
      update public.scheduled_jobs j set dispatch_after = now() + interval '15 seconds'
        from due where j.id = due.id
        returning j.*)
    select * from handed_out h order by public.priority_rank(h.priority), h.created_at, h.id;
end $$;

create function public.explain_job(p_id uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
-- {"job", "paused": reason | null, "maintenance", "holder": the job that holds the slot, "ahead": how many wait in front,
-- "retry": id of the job that tries this one again, "sweptSecondsAgo", "leaseSecondsAgo", "now"}; null without the job.
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
      'retry', (select r.id from public.scheduled_jobs r
                  where r.retry_of = j.id order by r.created_at desc limit 1),
      'sweptSecondsAgo', (select extract(epoch from now() - s.swept_at) from public.sweep_state s),
      'leaseSecondsAgo', extract(epoch from now() - j.locked_at),
      'now', now())
    from public.scheduled_jobs j where j.id = p_id
$$;
comment on function public.explain_job is 'What is known in the database about why a job is where it is';

create or replace function public.crawl_claim_lives(p_job_id uuid, p_fence bigint) returns boolean
language sql stable security definer set search_path = '' as $$
-- Not by the age of the lease: after an outage an old lease is renewed, and its process goes on with what it had
-- claimed. It is the end of the job, or the next fence, that frees a claim.
  select exists (select from public.scheduled_jobs j
    where j.id = p_job_id and j.fence = p_fence and j.status = 'running')
$$;
comment on function public.crawl_claim_lives is 'True until the claiming job has ended or its lease has passed on';

revoke execute on function public.cancel_job, public.finish_job, public.give_up_lease, public.bury_job,
  public.bury_silent_job, public.close_unstarted_job, public.give_up_unstarted, public.reap_dead_leases,
  public.recover_dead_jobs, public.runs_to_end, public.open_runs, public.jobs_of_runs, public.close_run,
  public.note_put_right, public.explain_job from public, anon, authenticated;
grant execute on function public.cancel_job, public.finish_job, public.give_up_lease, public.bury_job,
  public.bury_silent_job, public.close_unstarted_job, public.give_up_unstarted, public.reap_dead_leases,
  public.recover_dead_jobs, public.runs_to_end, public.open_runs, public.jobs_of_runs, public.close_run,
  public.note_put_right, public.explain_job to service_role;

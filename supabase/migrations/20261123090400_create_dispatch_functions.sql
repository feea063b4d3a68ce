-- Dispatch: which accepted jobs get a flow run now, by any number of replicas. Before the deploy.
set lock_timeout = '5s';

create function public.claim_dispatch(p_limit integer) returns setof public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- Grants free slots (HIGH first, then oldest), then hands out jobs that need a flow run. A job handed out stays with
-- that replica for 15 s; if its run was created but not recorded, the idempotency key finds the same run again.
declare
  v_next record;
begin
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
    with handed_out as (
      update public.scheduled_jobs set dispatch_after = now() + interval '15 seconds'
        where id in (
          select d.id from public.scheduled_jobs d
            where d.status = 'pending' and d.flow_run_id is null and (d.exclusive_key is null or d.slot_held)
              -- Rows without an origin were accepted by the published scheduler, for a run of its own.
              and d.origin is not null
              and (d.dispatch_after is null or d.dispatch_after <= now())
            order by public.priority_rank(d.priority), d.created_at, d.id
            limit p_limit for update skip locked)
        returning *)
    select * from handed_out h order by public.priority_rank(h.priority), h.created_at, h.id;
end $$;
comment on function public.claim_dispatch is 'Grants free slots and hands out the jobs that need a flow run';

create function public.record_dispatch(p_id uuid, p_flow_run_id uuid) returns text
language plpgsql security definer set search_path = '' as $$
-- Returns the job's status: a caller that sees an ended one cancels the run it has just created.
declare
  v_status text;
begin
  update public.scheduled_jobs set flow_run_id = p_flow_run_id, pending_reason = 'waiting for a worker'
    where id = p_id and status = 'pending' and flow_run_id is null;
  select status into v_status from public.scheduled_jobs where id = p_id;
  return v_status;
end $$;
comment on function public.record_dispatch is 'Notes the flow run of a dispatched job';

create function public.postpone_dispatch(p_id uuid, p_reason text, p_seconds integer) returns void
language sql security definer set search_path = '' as $$
  update public.scheduled_jobs set pending_reason = p_reason, dispatch_after = now() + make_interval(secs => p_seconds)
    where id = p_id and status = 'pending' and flow_run_id is null
$$;
comment on function public.postpone_dispatch is 'Says why a job has no flow run yet and when to try again';

create function public.forget_flow_run(p_id uuid, p_flow_run_id uuid) returns boolean
language plpgsql security definer set search_path = '' as $$
-- For a pending job whose flow run is gone from Prefect: it is dispatched again.
begin
  update public.scheduled_jobs set flow_run_id = null, dispatch_after = null, pending_reason = 'its flow run was deleted'
    where id = p_id and flow_run_id = p_flow_run_id and status = 'pending';
  return found;
end $$;
comment on function public.forget_flow_run is 'Makes a pending job whose flow run was deleted due for dispatch again';

create function public.close_unstarted_job(p_id uuid, p_flow_run_id uuid, p_status text, p_error text) returns boolean
language plpgsql security definer set search_path = '' as $$
-- Until a process has taken the lease, Prefect's terminal states move the row. A null run closes a job that has none.
begin
  update public.scheduled_jobs set status = p_status, error = p_error,
      result = jsonb_build_object('success', p_status = 'completed', 'itemsProcessed', 0, 'errors',
        case when p_error is null then '[]'::jsonb else jsonb_build_array(p_error) end, 'details', '{}'::jsonb)
    where id = p_id and flow_run_id is not distinct from p_flow_run_id and status = 'pending';
  return found;
end $$;
comment on function public.close_unstarted_job is 'Ends a job whose run ended before any process took its lease';

create function public.give_up_unstarted(p_id uuid, p_flow_run_id uuid, p_error text) returns boolean
language plpgsql security definer set search_path = '' as $$
-- For a job whose run a worker took on and no process has begun. Like a lease, it gets its full time again after the
-- database was away: its process may be waiting for it.
begin
  if exists (select from public.sweep_state where swept_at > now() - interval '20 seconds' and grace_until <= now())
     and public.close_unstarted_job(p_id, p_flow_run_id, 'failed', p_error) then
    update public.scheduled_jobs set run_to_crash = true where id = p_id;
    return true;
  end if;
  return false;
end $$;
comment on function public.give_up_unstarted is 'Fails a job whose run was taken on by a worker and never begun';

create function public.runs_to_crash(p_limit integer) returns setof public.scheduled_jobs
language sql stable security definer set search_path = '' as $$
  select * from public.scheduled_jobs where run_to_crash limit p_limit
$$;
comment on function public.runs_to_crash is 'Dead jobs whose runs Prefect still takes for alive';

create function public.record_crash(p_id uuid) returns void
language sql security definer set search_path = '' as $$
  update public.scheduled_jobs set run_to_crash = null where id = p_id and run_to_crash
$$;
comment on function public.record_crash is 'Notes that Prefect has been told of a job''s death';

create function public.sweep_dispatched(p_limit integer) returns setof public.scheduled_jobs
language sql stable security definer set search_path = '' as $$
  select * from public.scheduled_jobs
    where status = 'pending' and flow_run_id is not null and updated_at < now() - interval '5 seconds'
    order by updated_at limit p_limit
$$;
comment on function public.sweep_dispatched is 'Jobs with a flow run that no process has taken: Prefect is asked what became of them';

create table public.sweep_state (
  only_row boolean primary key default true check (only_row),
  swept_at timestamptz,
  grace_until timestamptz
);
alter table public.sweep_state enable row level security;
revoke all on public.sweep_state from anon, authenticated;
grant select, insert, update on public.sweep_state to service_role;
comment on table public.sweep_state is 'When dead leases were last looked for; after a gap nothing is reaped for one lease';

create function public.reap_dead_leases() returns setof public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- Ends jobs whose lease is dead. Runs that could not renew because the database was away are not dead: after a gap
-- between sweeps (nobody swept because nobody could) every lease gets its full length again.
-- Running rows without a lease, and pending ones without an origin, were left by the published scheduler; the longest
-- job it had could run 6 hours.
declare
  v_state public.sweep_state;
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
  if now() < v_state.grace_until then return; end if;

  return query
    update public.scheduled_jobs j set
      status = 'failed',
      error = d.reason,
      run_to_crash = case when j.flow_run_id is not null then true end,
      result = jsonb_build_object(
        'success', false,
        'itemsProcessed', coalesce((j.progress ->> 'itemsProcessed')::integer, 0),
        'errors', jsonb_build_array(d.reason),
        'details', jsonb_build_object('died', true))
    from (
      select id, case when fence is null
          then format('left %s by an earlier scheduler: no process holds it', status)
          else format('lease lost: no sign of life from %s since %s',
                      coalesce(locked_by, 'its worker'), to_char(locked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
        end as reason
      from public.scheduled_jobs
      where (status = 'running' and locked_at < now() - public.lease_length())
        or (status = 'running' and locked_at is null and coalesce(started_at, created_at) < now() - interval '6 hours')
        or (status = 'pending' and origin is null and created_at < now() - interval '6 hours')
      for update skip locked
    ) d
    where j.id = d.id
    returning j.*;
end $$;
comment on function public.reap_dead_leases is 'Fails jobs whose lease is dead; returns them';

revoke execute on function public.claim_dispatch, public.record_dispatch, public.postpone_dispatch, public.forget_flow_run,
  public.close_unstarted_job, public.give_up_unstarted, public.runs_to_crash, public.record_crash,
  public.sweep_dispatched, public.reap_dead_leases from public, anon, authenticated;
grant execute on function public.claim_dispatch, public.record_dispatch, public.postpone_dispatch, public.forget_flow_run,
  public.close_unstarted_job, public.give_up_unstarted, public.runs_to_crash, public.record_crash,
  public.sweep_dispatched, public.reap_dead_leases to service_role;

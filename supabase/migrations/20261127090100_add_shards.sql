-- A job that fans out: its shards are jobs of their own, which end when it does. Before the deploy.
set lock_timeout = '5s';

create index if not exists idx_scheduled_jobs_parent_id on public.scheduled_jobs (parent_id) where parent_id is not null;

create function public.accept_shards(p_job uuid, p_fence bigint, p_count integer, p_parameters jsonb) returns uuid[]
language plpgsql security definer set search_path = '' as $$
-- The ids of a running job's shards, made where there are less than p_count: jobs of the same type, origin and priority,
-- beside any gate. Called again, after a lost answer or by the next attempt of the same run, it makes no more of them.
declare
  v_parent public.scheduled_jobs;
  v_made integer;
begin
  perform public.require_lease(p_job, p_fence);
  select * into strict v_parent from public.scheduled_jobs where id = p_job for update;
  select count(*) into v_made from public.scheduled_jobs where parent_id = p_job;
  for v_number in v_made + 1 .. p_count loop
    perform public.accept_job(
      jsonb_build_object('job_type', v_parent.job_type, 'origin', v_parent.origin, 'priority', v_parent.priority,
        'started_by', v_parent.started_by, 'parameters', p_parameters, 'parent_id', p_job, 'exclusive_key', null),
      jsonb_build_object('actor', 'scheduler', 'action', 'fan out', 'details', jsonb_build_object('parentId', p_job)));
  end loop;
  return array(select id from public.scheduled_jobs where parent_id = p_job order by created_at, id);
end $$;
comment on function public.accept_shards is 'Makes a running job''s shards; returns their ids';

create function public.shards_of(p_job uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  select coalesce(jsonb_object_agg(id, status), '{}') from public.scheduled_jobs where parent_id = p_job
$$;
comment on function public.shards_of is 'Status of each shard of a job';

create function public.release_shards(p_job uuid, p_fence bigint) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Cancels the shards that have not started: there is nothing left for them. Returns what shards_of returns.
declare
  v_shard uuid;
begin
  perform public.require_lease(p_job, p_fence);
  for v_shard in select id from public.scheduled_jobs where parent_id = p_job and status = 'pending' loop
    perform public.cancel_job(v_shard, 'scheduler', 'scheduler');
  end loop;
  return public.shards_of(p_job);
end $$;
comment on function public.release_shards is 'Cancels a job''s shards that have not started';

create function public.end_shards() returns trigger
language plpgsql security definer set search_path = '' as $$
-- However a job ends, also as a death that somebody else notices, nothing goes on in its name.
declare
  v_shard uuid;
begin
  for v_shard in select id from public.scheduled_jobs
      where parent_id = new.id and status in ('pending', 'running') order by id loop
    perform public.cancel_job(v_shard, 'scheduler', 'scheduler');
  end loop;
  return null;
end $$;
comment on function public.end_shards is 'Trigger: cancels what a job that has ended had fanned out';

create trigger end_shards after update of status on public.scheduled_jobs
  for each row when (new.status is distinct from old.status and new.status in ('completed', 'failed', 'cancelled'))
  execute function public.end_shards();

create function public.first_asked_at(p_id uuid) returns timestamptz
language sql stable security definer set search_path = '' as $$
  with recursive tries as (
    select id, retry_of, created_at from public.scheduled_jobs where id = p_id
    union
    select j.id, j.retry_of, j.created_at from tries t join public.scheduled_jobs j on j.id = t.retry_of)
  select min(created_at) from tries
$$;
comment on function public.first_asked_at is 'When the first of a job''s tries was scheduled or asked for';

create or replace function public.take_job(
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
  v_scheduled boolean;
begin
  select * into v_job from public.scheduled_jobs where id = p_id for update;
  if not found then
    return jsonb_build_object('decision', 'closed', 'fence', null, 'reason', 'no such job');
  end if;
  -- A shard does what its parent has decided to do, whoever asked for that.
  v_scheduled := v_job.origin = 'schedule' and v_job.parent_id is null;
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
    if v_scheduled and exists (
         select from public.schedule_overrides o where o.job_type = v_job.job_type and o.enabled is false) then
      return public.close_at_start(p_id, p_flow_run_id, p_attempt, 'disabled: the schedule is switched off',
        '{"disabled": true}');
    end if;
    if v_scheduled and p_later_fire_at is not null then
      return public.close_at_start(p_id, p_flow_run_id, p_attempt,
        format('superseded: a later fire of this schedule, %s, is due as well',
               to_char(p_later_fire_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
        '{"superseded": true}');
    end if;
    if v_scheduled and exists (
         select from public.scheduled_jobs o
           where o.job_type = v_job.job_type and o.origin = 'schedule' and o.parent_id is null and o.status = 'pending' and o.flow_run_id is null
             and o.id <> p_id and o.created_at > v_job.created_at) then
      -- Fires come in any order, and may be held back at once: the older one sees it here at the latest.
      return public.close_at_start(p_id, p_flow_run_id, p_attempt,
        'superseded: a later fire of this schedule waits to run', '{"superseded": true}');
    end if;
    if v_paused is not null then
      if v_scheduled then
        -- Of the fires that a pause holds back only the latest runs after it.
        update public.scheduled_jobs set status = 'cancelled',
          error = 'superseded: a later fire of this schedule waits to run',
          result = '{"success": false, "itemsProcessed": 0, "errors": [], "details": {"superseded": true}}'
        where job_type = v_job.job_type and origin = 'schedule' and parent_id is null and status = 'pending'
          and flow_run_id is null and id <> p_id and created_at <= v_job.created_at;
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
    if v_scheduled then
      return public.close_at_start(p_id, p_flow_run_id, p_attempt,
        format('skipped: job %s of this type had not ended', v_holder), '{"skipped": true}');
    end if;
    return public.send_back(p_id, format('waiting for job %s to end', v_holder));
  end;
  return jsonb_build_object('decision', 'go', 'fence', v_job.fence, 'reason', null);
end $$;

revoke execute on function public.accept_shards, public.shards_of, public.release_shards, public.end_shards,
  public.first_asked_at from public, anon, authenticated;
grant execute on function public.accept_shards, public.shards_of, public.release_shards, public.end_shards,
  public.first_asked_at to service_role;

-- What a row must hold so that deaths, recoveries, a given-up lease, maximum run times and pauses can be told from it.
-- Before the deploy. Additive, apart from run_to_crash, which no release has had: run_open says more in its place.
set lock_timeout = '5s';

alter table public.scheduled_jobs
  add column if not exists died boolean,
  add column if not exists recover_at timestamptz,
  add column if not exists recoveries integer,
  add column if not exists run_open boolean,
  add column if not exists lease_ends_at timestamptz,
  add column if not exists lease_note text,
  add column if not exists max_run_seconds integer,
  add column if not exists slot_since timestamptz;

comment on column public.scheduled_jobs.died is 'It did not end by itself: lease lost, crashed or never started; such a job is tried again';
comment on column public.scheduled_jobs.recover_at is 'When a dead job is tried again as a new one; null once it was, or when it is not to be';
comment on column public.scheduled_jobs.recoveries is 'How many dead jobs in a row led to this one';
comment on column public.scheduled_jobs.run_open is 'The flow run has not been seen ended in agreement with the row yet: the reconciler keeps comparing the two';
comment on column public.scheduled_jobs.lease_ends_at is 'The process has given its lease up and is gone by then; null while it has not';
comment on column public.scheduled_jobs.lease_note is 'Why the process gave its lease up: the reason told when nobody takes it over';
comment on column public.scheduled_jobs.max_run_seconds is 'Longest run from started_at on; beyond it the job is failed and its process ended';
comment on column public.scheduled_jobs.slot_since is 'Since when the job holds the slot of its key';

update public.scheduled_jobs set run_open = true where flow_run_id is not null and (run_to_crash or status in ('pending', 'running'));

drop function public.runs_to_crash(integer);
drop function public.record_crash(uuid);
drop function public.sweep_dispatched(integer);
drop index public.idx_scheduled_jobs_run_to_crash;
alter table public.scheduled_jobs drop column run_to_crash;

create index idx_scheduled_jobs_run_open on public.scheduled_jobs (updated_at) where run_open;
create index idx_scheduled_jobs_recover_at on public.scheduled_jobs (recover_at) where recover_at is not null;
-- One retry a job, whoever asks for it first: a person, or the reconciler because it died.
create unique index idx_scheduled_jobs_retry_of on public.scheduled_jobs (retry_of)
  where retry_of is not null and origin in ('dashboard', 'recovery');

create table public.maintenance (
  only_row boolean primary key default true check (only_row),
  paused boolean not null,
  reason text,
  until timestamptz,
  set_by text,
  set_at timestamptz not null default now()
);
alter table public.maintenance enable row level security;
revoke all on public.maintenance from anon, authenticated;
grant select, insert, update on public.maintenance to service_role;
comment on table public.maintenance is 'Pause all: no job starts while it holds; ends by itself at `until`';

create table public.schedule_overrides (
  job_type text primary key,
  cron text,
  timezone text,
  enabled boolean,
  version bigint not null default 1,
  updated_by text,
  updated_at timestamptz not null default now()
);
alter table public.schedule_overrides enable row level security;
revoke all on public.schedule_overrides from anon, authenticated;
grant select, insert, update, delete on public.schedule_overrides to service_role;
comment on table public.schedule_overrides is 'An admin''s edits of a schedule; they win over prefect.yaml. Null: as the file says';

create function public.pause_reason() returns text
language sql stable security definer set search_path = '' as $$
  select 'paused' || coalesce(': ' || reason, '') from public.maintenance
    where paused and (until is null or until > now())
$$;
comment on function public.pause_reason is 'Why nothing starts now; null while nothing is paused';

create function public.set_maintenance(
  p_paused boolean, p_reason text, p_until timestamptz, p_set_by text, p_actor text
) returns public.maintenance
language plpgsql security definer set search_path = '' as $$
declare
  v_set public.maintenance;
begin
  insert into public.maintenance as m (paused, reason, until, set_by)
    values (p_paused, p_reason, p_until, p_set_by)
    on conflict (only_row) do update
      set paused = excluded.paused, reason = excluded.reason, until = excluded.until, set_by = excluded.set_by, set_at = now()
    returning * into v_set;
  insert into public.scheduler_audit (actor, action, parameters, outcome)
    values (p_actor, case when p_paused then 'pause' else 'resume' end,
            jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'until', p_until)), 'done');
  return v_set;
end $$;
comment on function public.set_maintenance is 'Pauses or resumes every start, with its audit entry';

create function public.longest_run(p_job public.scheduled_jobs) returns timestamptz
language sql immutable set search_path = '' as
$$ select p_job.started_at + make_interval(secs => p_job.max_run_seconds) $$;
comment on function public.longest_run is 'When a job''s maximum run time is over; null without one';

create or replace function public.guard_scheduled_jobs() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.status is distinct from old.status then
    if public.job_has_ended(old.status) then
      raise exception 'job % has ended as % and cannot become %', old.id, old.status, new.status
        using errcode = 'SJ002';
    end if;
    if old.status = 'running' and new.status = 'pending' then
      raise exception 'job % is running and cannot become pending again', old.id using errcode = 'SJ002';
    end if;
  end if;
  if public.job_has_ended(new.status) then
    new.slot_held := null;
    new.pending_reason := null;
    new.lease_ends_at := null;
    new.completed_at := coalesce(new.completed_at, now());
  end if;
  if new.slot_held is distinct from old.slot_held then
    new.slot_since := case when new.slot_held then clock_timestamp() end;
  end if;
  if new.flow_run_id is distinct from old.flow_run_id then
    new.run_open := case when new.flow_run_id is not null then true end;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;

create function public.end_without_process(p_id uuid, p_reason text, p_alive_at timestamptz default now())
returns public.scheduled_jobs
language plpgsql security definer set search_path = '' as $$
-- The one way a running job ends when its process does not end it: the process is gone, or fenced off. What that end
-- is called depends on what was asked before: a cancel makes it cancelled, a run over its time is no death, and
-- everything else is one, which is tried again after 30 s, 2 min and 10 min. p_alive_at is the last sign of life: a
-- process that died in time is not over it because its death was noticed later.
-- The caller holds the row's lock and has checked that the job is running.
declare
  v_job public.scheduled_jobs;
  v_reason text;
  v_cancelled boolean;
  v_overtime boolean;
  v_items integer;
begin
  select * into strict v_job from public.scheduled_jobs where id = p_id for update;
  v_cancelled := v_job.cancel_requested_at is not null;
  v_overtime := not v_cancelled and coalesce(public.longest_run(v_job) < p_alive_at, false);
  v_items := coalesce((v_job.progress ->> 'itemsProcessed')::integer, 0);
  v_reason := case
    when v_cancelled then 'cancelled while running'
    when v_overtime then 'ran longer than ' || make_interval(secs => v_job.max_run_seconds)
    else coalesce(v_job.lease_note, p_reason) end;
  update public.scheduled_jobs set
    status = case when v_cancelled then 'cancelled' else 'failed' end,
    error = v_reason,
    died = case when not v_cancelled and not v_overtime then true end,
    recover_at = case when not v_cancelled and not v_overtime then public.recovery_time(v_job) end,
    cancel_stopped_at = case when v_cancelled then clock_timestamp() end,
    cancel_items_done = case when v_cancelled then v_items end,
    cancel_safe_to_retry = case when v_cancelled then true end,
    result = jsonb_build_object('success', false, 'itemsProcessed', v_items, 'errors', jsonb_build_array(v_reason),
      'details', case when not v_cancelled and not v_overtime then '{"died": true}'::jsonb else '{}'::jsonb end)
  where id = p_id
  returning * into v_job;
  return v_job;
end $$;
comment on function public.end_without_process is 'Ends a running job whose process is gone or fenced off: cancelled, over its time, or dead';

create function public.recovery_time(p_job public.scheduled_jobs) returns timestamptz
language sql stable set search_path = '' as $$
-- Shards are their parent's business; a run that somebody set going again by hand in Prefect is that person's.
  select case
    when p_job.parent_id is not null or (p_job.origin = 'prefect' and p_job.retry_of is not null) then null
    else clock_timestamp() + case coalesce(p_job.recoveries, 0)
      when 0 then interval '30 seconds' when 1 then interval '2 minutes' when 2 then interval '10 minutes' end
    end
$$;
comment on function public.recovery_time is 'When a job that died now is tried again; null after three times';

revoke execute on function public.pause_reason, public.set_maintenance, public.longest_run, public.end_without_process,
  public.recovery_time from public, anon, authenticated;
grant execute on function public.pause_reason, public.set_maintenance, public.longest_run, public.end_without_process,
  public.recovery_time to service_role;

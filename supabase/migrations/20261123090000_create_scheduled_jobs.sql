-- The summary row of every job, with the lease, the gate and the cancel receipt. Before the deploy.
-- The site may have published the first ten columns already: everything here is additive, and rows that exist keep working.
set lock_timeout = '5s';

create table if not exists public.scheduled_jobs (
  id uuid primary key default gen_random_uuid(),
  job_type text not null,
  status text not null default 'pending',
  started_at timestamptz,
  completed_at timestamptz,
  started_by text,
  error text,
  result jsonb,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

alter table public.scheduled_jobs
  add column if not exists origin text,
  add column if not exists flow_run_id uuid,
  add column if not exists attempt integer,
  add column if not exists parameters jsonb,
  add column if not exists priority text,
  add column if not exists retry_of uuid,
  add column if not exists parent_id uuid,
  add column if not exists progress jsonb,
  add column if not exists pending_reason text,
  add column if not exists exclusive_key text,
  add column if not exists slot_held boolean,
  add column if not exists locked_by text,
  add column if not exists locked_at timestamptz,
  add column if not exists fence bigint,
  add column if not exists dispatch_after timestamptz,
  add column if not exists dispatches integer,
  add column if not exists run_to_crash boolean,
  add column if not exists cancel_requested_by text,
  add column if not exists cancel_requested_at timestamptz,
  add column if not exists cancel_stopped_at timestamptz,
  add column if not exists cancel_items_done integer,
  add column if not exists cancel_safe_to_retry boolean;

-- Not validated: rows of the published scheduler are history and are not ours to refuse.
alter table public.scheduled_jobs
  add constraint scheduled_jobs_status_known
    check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')) not valid,
  add constraint scheduled_jobs_origin_known
    check (origin in ('dashboard', 'schedule', 'prefect', 'recovery')) not valid,
  add constraint scheduled_jobs_priority_known
    check (priority in ('HIGH', 'MEDIUM', 'LOW')) not valid;

create index if not exists idx_scheduled_jobs_status on public.scheduled_jobs (status);
create index if not exists idx_scheduled_jobs_job_type on public.scheduled_jobs (job_type);
create index if not exists idx_scheduled_jobs_started_by on public.scheduled_jobs (started_by);
create index if not exists idx_scheduled_jobs_created_at on public.scheduled_jobs (created_at desc);
create unique index if not exists idx_scheduled_jobs_flow_run_id on public.scheduled_jobs (flow_run_id, attempt)
  where flow_run_id is not null;
-- The gate: at most one job holds the slot of a key.
create unique index if not exists idx_scheduled_jobs_slot on public.scheduled_jobs (exclusive_key) where slot_held;
create index if not exists idx_scheduled_jobs_pending on public.scheduled_jobs (exclusive_key, created_at)
  where status = 'pending';
create index if not exists idx_scheduled_jobs_run_to_crash on public.scheduled_jobs (id) where run_to_crash;
create index if not exists idx_scheduled_jobs_running on public.scheduled_jobs (locked_at) where status = 'running';

comment on table public.scheduled_jobs is 'One row a job of the scheduler: what was asked, what is true now, how it ended';
comment on column public.scheduled_jobs.fence is 'Fencing number: raised by every take_job; an older number can record nothing';
comment on column public.scheduled_jobs.locked_at is 'Last renewal of the lease by the database clock; 90 s without one and the lease is dead';
comment on column public.scheduled_jobs.exclusive_key is 'Jobs with the same key run one at a time; null runs beside anything';
comment on column public.scheduled_jobs.dispatch_after is 'The dispatcher leaves the job alone until then (another replica has it, or Prefect was down)';
comment on column public.scheduled_jobs.run_to_crash is 'The job died and Prefect does not know yet: its run is to be forced to Crashed';
comment on column public.scheduled_jobs.dispatches is 'How many flow runs were given up before this one; part of the next run''s idempotency key';

alter table public.scheduled_jobs enable row level security;
revoke all on public.scheduled_jobs from anon, authenticated;
grant select, insert, update, delete on public.scheduled_jobs to service_role;

create function public.job_has_ended(p_status text) returns boolean
language sql immutable set search_path = '' as
$$ select p_status in ('completed', 'failed', 'cancelled') $$;
comment on function public.job_has_ended is 'True for the three statuses a row never leaves';

create function public.priority_rank(p_priority text) returns integer
language sql immutable set search_path = '' as
$$ select case p_priority when 'HIGH' then 1 when 'LOW' then 3 else 2 end $$;
comment on function public.priority_rank is 'Order of dispatch: 1 goes first; an absent priority counts as MEDIUM';

create function public.lease_length() returns interval
language sql immutable set search_path = '' as
$$ select interval '90 seconds' $$;
comment on function public.lease_length is 'Age at which a lease that was not renewed is dead';

-- A trigger and not a habit of callers: hand-written SQL and later functions obey it too.
create function public.guard_scheduled_jobs() returns trigger
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
    new.completed_at := coalesce(new.completed_at, now());
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;

create trigger guard_scheduled_jobs before update on public.scheduled_jobs
  for each row execute function public.guard_scheduled_jobs();

revoke execute on function public.job_has_ended, public.priority_rank, public.lease_length, public.guard_scheduled_jobs
  from public, anon, authenticated;
grant execute on function public.job_has_ended, public.priority_rank, public.lease_length, public.guard_scheduled_jobs
  to service_role;

-- What the harness adds to its stack's database. Safe to run again.
-- A ledger of steps for the misbehaving flow, claimed under (job, fence) like every claim of ours, so that a step which
-- was claimed and not settled is in doubt and never simply free; and the gate and queue that a job's parameters ask for.
create table if not exists public.chaos_steps (
  root uuid not null,
  step integer not null,
  job uuid not null,
  fence bigint not null,
  state text not null check (state in ('sending', 'sent', 'unknown')),
  claimed_at timestamptz not null default clock_timestamp(),
  settled_at timestamptz,
  primary key (root, step)
);
grant select on public.chaos_steps to service_role;

create or replace function public.chaos_root(p_job uuid) returns uuid
language sql stable security definer set search_path = '' as $$
  with recursive line (id, retry_of) as (
    select id, retry_of from public.scheduled_jobs where id = p_job
    union all
    select j.id, j.retry_of from public.scheduled_jobs j join line on j.id = line.retry_of)
  select id from line where retry_of is null
$$;
comment on function public.chaos_root is 'The first of a line of jobs that try the same work again';

create or replace function public.chaos_claim_step(p_job uuid, p_fence bigint, p_steps integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- {"root", "step", "doubtful", "age"} of the next step; step null when none is left. Called again by the same holder
-- before it has settled, it says the same again. A step that another holder left unsettled comes first, as doubtful.
declare
  v_root uuid := public.chaos_root(p_job);
  v_found public.chaos_steps;
begin
  perform public.require_lease(p_job, p_fence);
  select * into v_found from public.chaos_steps where root = v_root and state = 'sending' order by step limit 1;
  if found then
    return jsonb_build_object('root', v_root, 'step', v_found.step,
      'doubtful', (v_found.job, v_found.fence) <> (p_job, p_fence),
      'age', extract(epoch from clock_timestamp() - v_found.claimed_at));
  end if;
  insert into public.chaos_steps (root, step, job, fence, state)
    select v_root, n, p_job, p_fence, 'sending' from generate_series(1, p_steps) n
      where not exists (select from public.chaos_steps s where s.root = v_root and s.step = n)
      order by n limit 1
    returning * into v_found;
  return jsonb_build_object('root', v_root, 'step', v_found.step, 'doubtful', false, 'age', 0);
end $$;

create or replace function public.chaos_settle_step(p_job uuid, p_fence bigint, p_root uuid, p_step integer, p_state text)
returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform public.require_lease(p_job, p_fence);
  update public.chaos_steps set state = p_state, job = p_job, fence = p_fence, settled_at = clock_timestamp()
    where root = p_root and step = p_step and state = 'sending';
end $$;

-- A type's exclusive_key(parameters) stands in its code; here it stands in the parameters, for whoever makes the row.
-- Workers of the high and low queues are killed and frozen: what is tried again goes to the one that stays.
create or replace function public.chaos_place_job() returns trigger
language plpgsql set search_path = '' as $$
begin
  if new.parameters ? 'key' then new.exclusive_key := nullif(new.parameters ->> 'key', ''); end if;
  if new.origin = 'recovery' then new.priority := 'MEDIUM'; end if;
  return new;
end $$;
drop trigger if exists chaos_place_job on public.scheduled_jobs;
create trigger chaos_place_job before insert on public.scheduled_jobs
  for each row execute function public.chaos_place_job();

revoke execute on function public.chaos_root, public.chaos_claim_step, public.chaos_settle_step from public, anon, authenticated;
grant execute on function public.chaos_root, public.chaos_claim_step, public.chaos_settle_step, public.chaos_place_job
  to service_role;

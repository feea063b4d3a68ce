-- Acceptance: the row, its audit entry and its idempotency key in one transaction. Before the deploy.
set lock_timeout = '5s';

create table public.scheduler_audit (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  action text not null,
  job_id uuid,
  job_type text,
  parameters jsonb,
  outcome text not null,
  details jsonb
);
create index scheduler_audit_at on public.scheduler_audit (at desc, id desc);
comment on table public.scheduler_audit is 'Who changed what, when, and what came of it; kept 2 years';

create table public.idempotency_keys (
  actor text not null,
  route text not null,
  key text not null,
  fingerprint text not null,
  job_id uuid not null,
  answer jsonb not null,
  created_at timestamptz not null default now(),
  primary key (actor, route, key)
);
create index idempotency_keys_created_at on public.idempotency_keys (created_at);
comment on table public.idempotency_keys is 'First answers by Idempotency-Key; kept 24 h';

alter table public.scheduler_audit enable row level security;
alter table public.idempotency_keys enable row level security;
revoke all on public.scheduler_audit, public.idempotency_keys from anon, authenticated;
grant select, insert, delete on public.scheduler_audit to service_role;
grant select, insert, delete on public.idempotency_keys to service_role;

create function public.accept_job(p_job jsonb, p_audit jsonb, p_idempotency jsonb default null) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Returns {"outcome": "accepted" | "replayed" | "mismatch", "job": <row as it was accepted>}.
-- A second call with the same idempotency key waits for the first one's transaction: the primary key holds it.
declare
  v_id uuid := coalesce((p_job ->> 'id')::uuid, gen_random_uuid());
  v_job public.scheduled_jobs;
  v_earlier public.idempotency_keys;
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

  insert into public.scheduled_jobs
    (id, job_type, status, started_by, origin, parameters, priority, retry_of, parent_id, exclusive_key, attempt, created_at)
  values
    (v_id, p_job ->> 'job_type', 'pending', p_job ->> 'started_by', p_job ->> 'origin',
     coalesce(p_job -> 'parameters', '{}'), coalesce(p_job ->> 'priority', 'MEDIUM'),
     (p_job ->> 'retry_of')::uuid, (p_job ->> 'parent_id')::uuid, p_job ->> 'exclusive_key', 0, clock_timestamp())
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
comment on function public.accept_job is 'Accepts a job: row, audit entry and idempotency key in one transaction';

revoke execute on function public.accept_job from public, anon, authenticated;
grant execute on function public.accept_job to service_role;

-- How often somebody may change something, the same for every replica, and what is kept of calls that were refused.
-- Before the deploy: a shim that knows nothing of it goes on as before.
set lock_timeout = '5s';

-- Unlogged: what a crash of the database forgets is less than a minute old.
create unlogged table public.rate_limits (
  actor text primary key,
  turns double precision not null,
  at timestamptz not null
) with (fillfactor = 50);
alter table public.rate_limits enable row level security;
revoke all on public.rate_limits from anon, authenticated;
grant select, insert, update, delete on public.rate_limits to service_role;
comment on table public.rate_limits is 'A token bucket an actor: the turns left at that time; one row for everybody who ever changed something';

create function public.turns_left(p_bucket public.rate_limits, p_per_minute integer, p_burst integer)
returns double precision
language sql volatile set search_path = '' as $$
  select least(p_burst::double precision, p_bucket.turns
    + greatest(0, extract(epoch from clock_timestamp() - p_bucket.at)::double precision) * p_per_minute / 60)
$$;
comment on function public.turns_left is 'How many turns a bucket holds now';

create function public.take_turn(p_actor text, p_per_minute integer, p_burst integer) returns double precision
language plpgsql security definer set search_path = '' as $$
-- Returns 0 when a turn was taken, else the seconds until there is one: a refused call writes nothing.
-- Callers of one actor queue for its row; the clock is read when it is theirs.
declare
  v_turns double precision;
begin
  insert into public.rate_limits as r (actor, turns, at) values (p_actor, p_burst - 1, clock_timestamp())
    on conflict (actor) do update
      set turns = public.turns_left(r, p_per_minute, p_burst) - 1, at = clock_timestamp()
      where public.turns_left(r, p_per_minute, p_burst) >= 1;
  if found then return 0; end if;
  select public.turns_left(r, p_per_minute, p_burst) into v_turns from public.rate_limits r where actor = p_actor;
  return greatest(0.001, (1 - v_turns) * 60 / p_per_minute);
end $$;
comment on function public.take_turn is 'Takes one of an actor''s turns: 0, or the seconds until there is one';

create function public.note_refusal(
  p_actor text, p_action text, p_outcome text, p_job_id uuid default null, p_job_type text default null,
  p_parameters jsonb default null, p_details jsonb default null, p_rate jsonb default null
) returns double precision
language plpgsql security definer set search_path = '' as $$
-- Audits a call that changed nothing. With p_rate {"perMinute", "burst"} it costs its actor a turn, and where there is
-- none left nothing is kept: a flood of wrong calls fills no table. Returns the seconds as take_turn does.
declare
  v_seconds double precision := 0;
begin
  if p_rate is not null then
    v_seconds := public.take_turn(p_actor, (p_rate ->> 'perMinute')::integer, (p_rate ->> 'burst')::integer);
  end if;
  if v_seconds = 0 then
    insert into public.scheduler_audit (actor, action, job_id, job_type, parameters, outcome, details)
      values (p_actor, p_action, p_job_id, p_job_type, p_parameters, p_outcome, p_details);
  end if;
  return v_seconds;
end $$;
comment on function public.note_refusal is 'Audits a call that was refused or failed, as long as its actor has turns';

create or replace function public.accept_job(p_job jsonb, p_audit jsonb, p_idempotency jsonb default null) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- As accept_known_job; a retry may be one of an archived job. With "rate" {"perMinute", "burst"} in p_audit the call
-- costs its actor a turn, a repeat with an idempotency key too; where none is left the answer is {"outcome": "limited",
-- "job": null, "seconds": until there is one} and nothing is changed.
declare
  v_seconds double precision;
begin
  if p_audit -> 'rate' ->> 'perMinute' is not null then
    v_seconds := public.take_turn(p_audit ->> 'actor', (p_audit -> 'rate' ->> 'perMinute')::integer,
      (p_audit -> 'rate' ->> 'burst')::integer);
    if v_seconds > 0 then
      return jsonb_build_object('outcome', 'limited', 'job', null, 'seconds', v_seconds);
    end if;
  end if;
  if p_job ->> 'retry_of' is not null then
    perform public.restore_jobs(array[(p_job ->> 'retry_of')::uuid]);
  end if;
  return public.accept_known_job(p_job, p_audit, p_idempotency);
end $$;

revoke execute on function public.take_turn, public.turns_left, public.note_refusal from public, anon, authenticated;
grant execute on function public.take_turn, public.turns_left, public.note_refusal to service_role;

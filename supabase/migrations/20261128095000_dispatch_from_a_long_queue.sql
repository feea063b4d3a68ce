-- Dispatch costs the same with a hundred thousand jobs waiting as with ten. Before the deploy. The
-- indexes hold pending rows only; on a large table make them first, by hand, with `create index concurrently`.
set lock_timeout = '5s';

-- In the standard's form, without a search_path of its own, it becomes part of the query that asks for it: as a call it
-- cost more than the row it was asked about.
create or replace function public.priority_rank(p_priority text) returns integer
language sql immutable parallel safe
return case p_priority when 'HIGH' then 1 when 'LOW' then 3 else 2 end;
alter function public.priority_rank reset search_path;

create index if not exists idx_scheduled_jobs_waiting
  on public.scheduled_jobs (exclusive_key, public.priority_rank(priority), created_at, id)
  where status = 'pending' and flow_run_id is null and origin is not null and exclusive_key is not null
    and slot_held is not true;
create index if not exists idx_scheduled_jobs_due
  on public.scheduled_jobs (public.priority_rank(priority), created_at, id)
  where status = 'pending' and flow_run_id is null and origin is not null and (exclusive_key is null or slot_held);
-- Not an index: one over the reason would make every change of it a change of every index.
alter table public.maintenance add column if not exists told boolean not null default false;
comment on column public.maintenance.told is 'Some waiting jobs say that all is paused: once it is not any more, they are to say something else';

create function public.reasons_at_once() returns integer
language sql immutable set search_path = '' as
$$ select 100 $$;
comment on function public.reasons_at_once is 'How many of the jobs that wait for one slot say for which job; those behind them say that many are in front';

create function public.say_why_pending() returns trigger
language plpgsql set search_path = ''
-- The way is the index's, also where the table was empty when the plan was made and has no statistics yet.
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
-- A job that cannot start says so from its first moment; one without a reason is due, and worth a dispatcher's look.
declare
  v_holder uuid;
  v_ahead bigint;
begin
  if new.status <> 'pending' or new.flow_run_id is not null or new.origin is null or new.pending_reason is not null then
    return new;
  end if;
  new.pending_reason := public.pause_reason();
  if new.pending_reason is not null then
    update public.maintenance set told = true where not told;
  elsif new.exclusive_key is not null then
    select count(*) into v_ahead from (
      select from public.scheduled_jobs w
        where w.exclusive_key = new.exclusive_key and w.status = 'pending' and w.flow_run_id is null
          and w.origin is not null and w.slot_held is not true
        order by public.priority_rank(w.priority), w.created_at, w.id
        limit public.reasons_at_once()) ahead;
    select id into v_holder from public.scheduled_jobs where exclusive_key = new.exclusive_key and slot_held;
    if not found then
      -- The slot is being granted at this very moment, or will be: to the first of those that wait.
      select w.id into v_holder from public.scheduled_jobs w
        where w.exclusive_key = new.exclusive_key and w.status = 'pending' and w.flow_run_id is null
          and w.origin is not null and w.slot_held is not true
        order by public.priority_rank(w.priority), w.created_at, w.id limit 1;
    end if;
    if v_holder is not null then
      new.pending_reason := public.waiting_reason(v_holder, v_ahead);
    end if;
  end if;
  return new;
end $$;

comment on function public.say_why_pending is 'Lets a job that cannot start say why from its first moment';

create function public.waiting_reason(p_holder uuid, p_ahead bigint) returns text
language sql immutable set search_path = '' as $$
  select case
    when p_ahead >= public.reasons_at_once() then format('waiting for %s jobs or more in front of it', public.reasons_at_once())
    else format('waiting for job %s to end', p_holder) end
$$;
comment on function public.waiting_reason is 'Why a job waits whose slot is taken';

create trigger say_why_pending before insert on public.scheduled_jobs
  for each row execute function public.say_why_pending();

create or replace function public.claim_dispatch(p_limit integer) returns setof public.scheduled_jobs
language plpgsql security definer set search_path = ''
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
-- Grants free slots (HIGH first, then oldest), then hands out jobs that need a flow run. A job handed out stays with
-- that replica for 15 s; if its run was created but not recorded, the idempotency key finds the same run again.
-- While everything is paused nothing is handed out, and every job says so: a thousand of them a call.
declare
  v_key text;
  v_holder uuid;
  v_reason text;
  v_paused text := public.pause_reason();
begin
  if v_paused is not null then
    update public.maintenance set told = true where not told;
    update public.scheduled_jobs set pending_reason = v_paused
      where ctid = any (array(
        select ctid from public.scheduled_jobs
          where status = 'pending' and flow_run_id is null and origin is not null
            and pending_reason is distinct from v_paused
          limit 1000 for update skip locked));
    return;
  end if;
  if exists (select from public.maintenance where told) then
    -- Those in front get their own reason right below.
    update public.scheduled_jobs set pending_reason = case
        when exclusive_key is not null and slot_held is not true then public.waiting_reason(id, public.reasons_at_once()) end
      where ctid = any (array(
        select ctid from public.scheduled_jobs
          where status = 'pending' and flow_run_id is null and pending_reason like 'paused%'
          limit 1000 for update skip locked));
    if not found then
      update public.maintenance set told = false;
    end if;
  end if;

  -- From key to key through the index: there are few, however many jobs wait.
  select min(w.exclusive_key) into v_key from public.scheduled_jobs w
    where w.status = 'pending' and w.flow_run_id is null and w.origin is not null and w.exclusive_key is not null
      and w.slot_held is not true;
  while v_key is not null loop
    select h.id into v_holder from public.scheduled_jobs h where h.exclusive_key = v_key and h.slot_held;
    if not found then
      begin
        update public.scheduled_jobs set slot_held = true, pending_reason = null
          where id = (
              select w.id from public.scheduled_jobs w
                where w.exclusive_key = v_key and w.status = 'pending' and w.flow_run_id is null
                  and w.origin is not null and w.slot_held is not true
                order by public.priority_rank(w.priority), w.created_at, w.id limit 1)
            and status = 'pending' and flow_run_id is null
          returning id into v_holder;
      exception when unique_violation then
        v_holder := null;  -- Another replica, or a run that started by itself, was first.
      end;
    end if;
    if v_holder is not null then
      v_reason := public.waiting_reason(v_holder, 0);
      update public.scheduled_jobs w set pending_reason = v_reason
        where w.ctid = any (array(
              select a.ctid from public.scheduled_jobs a
                where a.exclusive_key = v_key and a.status = 'pending' and a.flow_run_id is null
                  and a.origin is not null and a.slot_held is not true
                order by public.priority_rank(a.priority), a.created_at, a.id limit public.reasons_at_once())
            -- One that was the first of all when it came has no reason yet, and may be behind a hundred of HIGH now.
            || array(
              select (select a.ctid from public.scheduled_jobs a
                  where a.exclusive_key = v_key and public.priority_rank(a.priority) = rank and a.status = 'pending'
                    and a.flow_run_id is null and a.origin is not null and a.slot_held is not true
                  order by public.priority_rank(a.priority), a.created_at, a.id limit 1)
                from unnest(array[2, 3]) rank))
          and w.status = 'pending' and w.flow_run_id is null and w.slot_held is not true
          and w.pending_reason is distinct from v_reason;
    end if;
    select min(w.exclusive_key) into v_key from public.scheduled_jobs w
      where w.status = 'pending' and w.flow_run_id is null and w.origin is not null and w.exclusive_key > v_key
        and w.slot_held is not true;
  end loop;

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

revoke execute on function public.reasons_at_once, public.say_why_pending, public.waiting_reason
  from public, anon, authenticated;
grant execute on function public.reasons_at_once, public.say_why_pending, public.waiting_reason to service_role;

-- Change streams resume by the id of an event. Ids are given out in order and committed out of order: whoever reads up to
-- the newest one passes over those of transactions that are still open, for ever. Before the deploy.
set lock_timeout = '5s';

-- How a reader knows where it has to stop. The first event of a transaction first takes a shared advisory lock, whose
-- key is the last id given out by then, and its ids are given out after that: they are all higher than the key. The lock
-- goes when the transaction has ended and what it wrote can be seen. A reader takes the last id given out, then looks at
-- the locks, then reads (each with a snapshot of its own) up to that id, or to the lowest key where there are locks. An
-- id up to there was given out before the first of these looks, so its transaction had its lock by then; it was gone at
-- the second, or its key, which is lower than the id, would have been the bound. So the third look sees all such events
-- that there will ever be. Transactions that write no events, however long they are open, are never waited for: what
-- they may still write gets higher ids. An xmin would wait for all of them.
create function public.announce_job_event() returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_transaction text := pg_current_xact_id()::text;
begin
  -- Both the lock and this note are undone together where a savepoint is rolled back.
  if current_setting('scheduler.events_announced', true) is distinct from v_transaction then
    perform pg_advisory_xact_lock_shared(
      1784820001, (coalesce(pg_sequence_last_value('public.job_events_id_seq'), 0) & 2147483647)::integer);
    perform set_config('scheduler.events_announced', v_transaction, true);
  end if;
end $$;
comment on function public.announce_job_event is 'Tells readers of job_events that this transaction will write some';

create or replace function public.note_job_event() returns trigger
language plpgsql set search_path = '' as $$
declare
  v_kind text;
  v_data jsonb := jsonb_build_object('jobType', new.job_type, 'status', new.status);
begin
  if tg_op = 'INSERT' then
    v_kind := 'accepted';
  elsif new.status is distinct from old.status then
    v_kind := 'status';
    v_data := v_data || jsonb_build_object('error', new.error, 'result', new.result);
  elsif new.cancel_requested_at is distinct from old.cancel_requested_at then
    v_kind := 'cancel_requested';
    v_data := v_data || jsonb_build_object('requestedBy', new.cancel_requested_by);
  elsif new.progress is distinct from old.progress then
    v_kind := 'progress';
    v_data := v_data || jsonb_build_object('progress', new.progress);
  elsif new.flow_run_id is distinct from old.flow_run_id and new.flow_run_id is not null then
    v_kind := 'dispatched';
    v_data := v_data || jsonb_build_object('flowRunId', new.flow_run_id);
  elsif new.pending_reason is distinct from old.pending_reason then
    v_kind := 'waiting';
    v_data := v_data || jsonb_build_object('pendingReason', new.pending_reason);
  else
    return null;
  end if;
  perform public.announce_job_event();
  insert into public.job_events (job_id, kind, data) values (new.id, v_kind, v_data);
  return null;
end $$;

create function public.read_job_events(p_after bigint, p_limit integer) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
-- The next p_limit events beyond p_after, in order, none of which will ever be preceded by another: {events, upTo,
-- settled, newest, known}. `upTo` is where to go on; no event will be added up to `settled`; `newest` is the last id
-- given out. `known` is false where events beyond p_after may have been deleted, or it was never given out. Without
-- p_after: no events, and upTo is where a new reader begins.
declare
  v_newest bigint;
  v_settled bigint;
  v_events jsonb := '[]';
  v_known boolean := true;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'read_job_events takes its looks one after the other: read committed only' using errcode = '25001';
  end if;
  v_newest := coalesce(pg_sequence_last_value('public.job_events_id_seq'), 0);
  -- Of the key only 31 bits are in the lock. One that seems to be a billion behind is ahead: taken since the first look.
  select least(v_newest, min(v_newest - behind)) into v_settled
    from (select (v_newest - l.objid::bigint) & 2147483647 as behind
            from pg_locks l
            where l.locktype = 'advisory' and l.classid = 1784820001 and l.objsubid = 2
              and l.database = (select d.oid from pg_database d where d.datname = current_database())) held
    where behind < 1073741824;
  if p_after is not null then
    select coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'jobId', e.job_id, 'at', e.at, 'kind', e.kind, 'data', e.data)
                              order by e.id), '[]') into v_events
      from (select * from public.job_events where id > p_after and id <= v_settled order by id limit p_limit) e;
    v_known := p_after = v_newest or (p_after < v_newest and coalesce((
      -- What is deleted is older than 24 h, and ids and times go together up to moments.
      select e.at > now() - interval '24 hours' + interval '1 minute'
        from public.job_events e where e.id <= p_after order by e.id desc limit 1), false));
  end if;
  return jsonb_build_object(
    'events', v_events,
    'upTo', case when jsonb_array_length(v_events) = p_limit then (v_events -> -1 ->> 'id')::bigint
                 else greatest(p_after, v_settled) end,
    'settled', v_settled,
    'newest', v_newest,
    'known', v_known);
end $$;
comment on function public.read_job_events is 'The next changes of jobs, in the order of their ids and without a gap';

create function public.forget_job_events(p_limit integer) returns integer
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
-- Deletes at most p_limit events, and as many idempotency keys, that are older than 24 h; returns the larger number.
-- The nightly cleanup does so too, when it runs. Looks at the oldest ids only; beside another such call it does nothing.
declare
  v_before timestamptz := now() - interval '24 hours';
  v_events integer;
  v_keys integer;
begin
  if not pg_try_advisory_xact_lock(1784820002, 0) then
    return 0;
  end if;
  delete from public.job_events where at < v_before and ctid = any (array(
    select old.ctid from (select e.ctid, e.at from public.job_events e order by e.id limit p_limit) old
      where old.at < v_before));
  get diagnostics v_events = row_count;
  delete from public.idempotency_keys where created_at < v_before and ctid = any (array(
    select k.ctid from public.idempotency_keys k where k.created_at < v_before order by k.created_at limit p_limit));
  get diagnostics v_keys = row_count;
  return greatest(v_events, v_keys);
end $$;
comment on function public.forget_job_events is 'Deletes a batch of events and idempotency keys older than 24 h';

create function public.job_log_span(p_id uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  -- Where the log lines of a job are: {flowRunId, status, completedAt, from, until}; null for an unknown job. Attempts
  -- of one flow run share its log: each has the lines from the making of its row to the making of the next one.
  with both_tables as not materialized (
      select id, status, flow_run_id, coalesce(attempt, 0) as attempt, created_at, completed_at from public.scheduled_jobs
      union all
      select id, status, flow_run_id, coalesce(attempt, 0), created_at, completed_at from public.scheduled_jobs_archive),
    job as (select * from both_tables where id = p_id limit 1)
  select jsonb_build_object(
      'flowRunId', job.flow_run_id,
      'status', job.status,
      'completedAt', job.completed_at,
      'from', case when exists (select from both_tables b
                 where b.flow_run_id = job.flow_run_id and b.attempt < job.attempt) then job.created_at end,
      'until', (select min(b.created_at) from both_tables b
                 where b.flow_run_id = job.flow_run_id and b.attempt > job.attempt))
    from job;
$$;
comment on function public.job_log_span is 'Where in which flow run''s log the lines of a job are';

revoke execute on function public.announce_job_event, public.read_job_events, public.forget_job_events,
  public.job_log_span from public, anon, authenticated;
grant execute on function public.announce_job_event, public.read_job_events, public.forget_job_events,
  public.job_log_span to service_role;

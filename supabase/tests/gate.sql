-- The gate: of the jobs with one key at most one holds the slot; a pause holds everything.
begin;
set local plpgsql.check_asserts = on;
delete from public.maintenance;

do $$
declare
  first public.scheduled_jobs := pg_temp.running('sql gate');
  second uuid := pg_temp.accept('sql gate');
  taken jsonb := pg_temp.take(second);
begin
  assert taken ->> 'decision' = 'wait', 'a held gate lets a second job in: ' || taken::text;
  assert taken ->> 'reason' = format('waiting for job %s to end', first.id), 'it does not say for whom it waits';
  assert (pg_temp.row_of(second)).status = 'pending', 'a job that waits is not pending';
  assert (pg_temp.row_of(second)).flow_run_id is null, 'a job that waits keeps its run';
  assert (pg_temp.row_of(second)).dispatches = 1, 'its next run would have the key of the last one';
  perform public.finish_job(first.id, first.fence, 'completed', '{"itemsProcessed": 0}');
  assert pg_temp.take(second) ->> 'decision' = 'go', 'the end of a job does not free the gate';
end $$;

do $$
declare
  first public.scheduled_jobs := pg_temp.running('sql schedule');
  fire uuid := pg_temp.accept('sql schedule', '{"origin": "schedule"}');
begin
  assert pg_temp.take(fire) ->> 'decision' = 'skip', 'a schedule waits at a held gate';
  assert (pg_temp.row_of(fire)).status = 'cancelled', 'a skipped schedule is not cancelled';
  assert (pg_temp.row_of(fire)).error = format('skipped: job %s of this type had not ended', first.id),
    'it does not say why';
end $$;

do $$
begin
  perform pg_temp.running(), pg_temp.running(), pg_temp.running('sql one key'), pg_temp.running('sql another key');
end $$;

do $$
declare
  first public.scheduled_jobs := pg_temp.running('sql slot');
  second uuid := pg_temp.accept('sql slot');
begin
  assert pg_temp.refusal(format('update public.scheduled_jobs set slot_held = true where id = %L', second)) = '23505',
    'two jobs hold the slot of one key';
end $$;

do $$
declare
  low uuid := pg_temp.accept('sql order', '{"priority": "LOW"}');
  older uuid := pg_temp.accept('sql order', '{"priority": "HIGH"}');
  newer uuid := pg_temp.accept('sql order', '{"priority": "HIGH"}');
  given uuid[] := array(select id from public.claim_dispatch(1000) where exclusive_key = 'sql order');
begin
  assert given = array[older], 'not the oldest of the highest priority is dispatched, or not it alone';
  assert (pg_temp.row_of(newer)).pending_reason = format('waiting for job %s to end', older),
    'it does not say for whom it waits';
  assert (pg_temp.row_of(low)).slot_held is not true, 'two hold the slot';
  given := array(select id from public.claim_dispatch(1000) where exclusive_key = 'sql order');
  assert given = '{}', 'a job is handed out twice within 15 s';
end $$;

do $$
declare
  free uuid := pg_temp.accept();
begin
  perform public.set_maintenance(true, 'a test', null, 'somebody', 'somebody');
  assert not exists (select from public.claim_dispatch(1000)), 'a pause lets a job be dispatched';
  assert (pg_temp.row_of(free)).pending_reason = 'paused: a test', 'a job that is paused does not say so';
  assert pg_temp.take(free) ->> 'decision' = 'wait', 'a pause lets a job start';
  perform public.set_maintenance(true, 'a test', now() - interval '1 second', 'somebody', 'somebody');
  assert public.pause_reason() is null, 'a pause outlasts its end';
  assert pg_temp.take(free) ->> 'decision' = 'go', 'after a pause a job cannot start';
end $$;

rollback;

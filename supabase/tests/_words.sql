-- Small words of the tests, gone with the session. Not a test.
create or replace function pg_temp.accept(p_key text default null, p_more jsonb default '{}') returns uuid
language sql as $$
  select (public.accept_job(
    jsonb_build_object('job_type', 'sql_test', 'origin', 'dashboard', 'exclusive_key', p_key) || p_more,
    '{"actor": "somebody", "action": "trigger"}') -> 'job' ->> 'id')::uuid
$$;

create or replace function pg_temp.row_of(p_id uuid) returns public.scheduled_jobs
language sql as $$ select * from public.scheduled_jobs where id = p_id $$;

create or replace function pg_temp.take(p_id uuid, p_worker text default 'a worker') returns jsonb
language sql as $$
  select public.take_job(
    p_id, coalesce((select flow_run_id from public.scheduled_jobs where id = p_id), p_id), 1, p_worker)
$$;

create or replace function pg_temp.running(p_key text default null) returns public.scheduled_jobs
language plpgsql as $$
-- A job whose lease is held.
declare
  v_id uuid := pg_temp.accept(p_key);
  v_taken jsonb := pg_temp.take(v_id);
begin
  assert v_taken ->> 'decision' = 'go', 'a free job was not given: ' || v_taken::text;
  return pg_temp.row_of(v_id);
end $$;

create or replace function pg_temp.ended(p_status text) returns public.scheduled_jobs
language plpgsql as $$
declare
  v_job public.scheduled_jobs := pg_temp.running();
begin
  assert public.finish_job(v_job.id, v_job.fence, p_status, '{"success": true, "itemsProcessed": 1}'), 'it did not end';
  return pg_temp.row_of(v_job.id);
end $$;

create or replace function pg_temp.refusal(p_sql text) returns text
language plpgsql as $$
-- The SQLSTATE that a statement is refused with; null where it is let through.
begin
  execute p_sql;
  return null;
exception when others then
  return sqlstate;
end $$;

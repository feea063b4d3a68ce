-- Acceptance and retry: row, audit and idempotency key in one transaction, and one retry a job.
begin;
set local plpgsql.check_asserts = on;
delete from public.maintenance;

do $$
declare
  job public.scheduled_jobs := pg_temp.row_of(
    pg_temp.accept('sql accept', '{"started_by": "u", "parameters": {"n": 5}}'));
begin
  assert (job.status, job.priority, job.started_by, job.parameters) = ('pending', 'MEDIUM', 'u', '{"n": 5}'::jsonb),
    'the row does not say what was asked';
  assert (select (actor, action, outcome) = ('somebody', 'trigger', 'accepted')
            from public.scheduler_audit where job_id = job.id),
    'the audit does not tell who asked';
  assert (select count(*) from public.job_events where job_id = job.id and kind = 'accepted') = 1,
    'no event tells of it';
end $$;

do $$
declare
  key constant jsonb := '{"actor": "somebody", "route": "trigger", "key": "sql key", "fingerprint": "a"}';
  wanted constant jsonb := '{"job_type": "sql_test", "origin": "dashboard"}';
  audit constant jsonb := '{"actor": "somebody", "action": "trigger"}';
  first jsonb := public.accept_job(wanted, audit, key);
  again jsonb := public.accept_job(wanted, audit, key);
begin
  assert first ->> 'outcome' = 'accepted' and again ->> 'outcome' = 'replayed', 'a repeat is another job';
  assert first -> 'job' = again -> 'job', 'a repeat is answered otherwise';
  assert public.accept_job(wanted, audit, key || '{"fingerprint": "b"}') ->> 'outcome' = 'mismatch',
    'a key serves two requests';
  assert public.accept_job(wanted, audit, key || '{"actor": "another"}') ->> 'outcome' = 'accepted',
    'a key is shared between actors';
  update public.idempotency_keys set created_at = now() - interval '25 hours' where idempotency_keys.key = 'sql key';
  assert public.accept_job(wanted, audit, key) ->> 'outcome' = 'accepted', 'a key is kept for more than a day';
end $$;

do $$
declare
  one text;
begin
  foreach one in array array['{"priority": "URGENT"}', '{"origin": "nowhere"}', '{"job_type": null}'] loop
    assert pg_temp.refusal(format('select pg_temp.accept(null, %L)', one)) in ('23514', '23502'), one || ' is accepted';
  end loop;
end $$;

do $$
declare
  audit constant jsonb := '{"actor": "somebody", "action": "retry"}';
  failed public.scheduled_jobs := pg_temp.ended('failed');
  other public.scheduled_jobs;
  answer jsonb;
begin
  update public.scheduled_jobs set parameters = '{"n": 7}', priority = 'HIGH', exclusive_key = 'sql retry'
    where id = failed.id;
  answer := public.accept_job(jsonb_build_object('retry_of', failed.id, 'origin', 'dashboard'), audit);
  assert answer ->> 'outcome' = 'accepted', 'a failed job cannot be retried: ' || answer::text;
  other := pg_temp.row_of((answer -> 'job' ->> 'id')::uuid);
  assert (other.retry_of, other.parameters, other.priority, other.exclusive_key, other.job_type)
    = (failed.id, '{"n": 7}'::jsonb, 'HIGH', 'sql retry', 'sql_test'), 'a retry is not the same work again';
  answer := public.accept_job(jsonb_build_object('retry_of', failed.id, 'origin', 'dashboard'), audit);
  assert answer ->> 'outcome' = 'conflict' and answer ->> 'reason' like '%' || other.id || '%', 'a job has two retries';

  other := pg_temp.ended('completed');
  answer := public.accept_job(jsonb_build_object('retry_of', other.id, 'origin', 'dashboard'), audit);
  assert answer ->> 'outcome' = 'conflict', 'a completed job is retried';
  answer := public.accept_job(jsonb_build_object('retry_of', gen_random_uuid(), 'origin', 'dashboard'), audit);
  assert answer ->> 'outcome' = 'conflict' and answer -> 'job' = 'null', 'a job that there is not is retried';
end $$;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
  again uuid;
begin
  perform public.bury_job(job.flow_run_id, 'a worker', 'Killed');
  update public.scheduled_jobs set recover_at = now() where id = job.id;
  select id into again from public.recover_dead_jobs(1000) where retry_of = job.id;
  assert again is not null and (pg_temp.row_of(again)).origin = 'recovery', 'what died is not tried again';
  assert not exists (select from public.recover_dead_jobs(1000) where retry_of = job.id),
    'what died is tried again twice';
end $$;

rollback;

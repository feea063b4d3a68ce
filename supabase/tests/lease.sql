-- The lease: one process at a time has the right to act for a job, and every record carries its fencing number.
begin;
set local plpgsql.check_asserts = on;
delete from public.maintenance;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
begin
  assert job.status = 'running' and job.fence = 1 and job.locked_by = 'a worker',
    'a taken job is not running under fence 1';
  assert pg_temp.take(job.id, 'another worker') ->> 'decision' = 'taken', 'a held lease was given away';
  assert pg_temp.take(job.id) ->> 'fence' = '2', 'the holder who asks again gets no new fence';
  assert public.beat_job(job.id, 1) = 'lost', 'an old fence renews the lease';
  assert public.beat_job(job.id, 2) = 'go', 'the holder cannot renew its lease';
end $$;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
begin
  perform pg_temp.take(job.id);
  assert not public.finish_job(job.id, 1, 'completed', '{}'), 'an old fence ends the job';
  assert (pg_temp.row_of(job.id)).status = 'running', 'an old fence changed the row';
  assert public.finish_job(job.id, 2, 'failed', '{"itemsProcessed": 0}', 'why'), 'the holder cannot end its job';
end $$;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
  ended public.scheduled_jobs := pg_temp.ended('completed');
begin
  perform public.require_lease(job.id, job.fence);
  assert pg_temp.refusal(format('select public.require_lease(%L, %s)', job.id, job.fence + 1)) = 'SJ001',
    'another fence passes';
  assert pg_temp.refusal(format('select public.require_lease(%L, 1)', gen_random_uuid())) = 'SJ001', 'no job passes';
  assert pg_temp.refusal(format('select public.require_lease(%L, %s)', ended.id, ended.fence)) = 'SJ001',
    'an ended job passes';
  update public.scheduled_jobs set locked_at = now() - interval '91 seconds' where id = job.id;
  assert pg_temp.refusal(format('select public.require_lease(%L, %s)', job.id, job.fence)) = 'SJ001',
    'a dead lease passes';
end $$;

-- Every function that claims or records, whatever later migrations add: under another fence it is refused before all.
do $$
declare
  job public.scheduled_jobs := pg_temp.running();
  one record;
  found integer := 0;
begin
  for one in
    select p.oid::regprocedure as name, format('select * from public.%I(%s)', p.proname, string_agg(
        format('%I => %s', a.name, case a.name
          when 'p_job' then quote_literal(job.id) || '::uuid'
          when 'p_fence' then '999'
          else 'null::' || format_type(a.type, null) end), ', ' order by a.place)) as call
      from pg_proc p,
        unnest(p.proargnames[1:p.pronargs], p.proargtypes::oid[]) with ordinality as a (name, type, place)
      where p.pronamespace = 'public'::regnamespace and p.proargnames @> array['p_job', 'p_fence']
      group by p.oid, p.proname
  loop
    found := found + 1;
    assert pg_temp.refusal(one.call) is not distinct from 'SJ001',
      format('%s asks for no lease: %s', one.name, coalesce(pg_temp.refusal(one.call), 'let through'));
  end loop;
  assert found >= 7, 'the functions that need a lease were not found';
end $$;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
begin
  assert public.give_up_lease(job.id, job.fence, 'stopped'), 'a lease cannot be given up';
  assert public.give_up_lease(job.id, job.fence, 'stopped'), 'told twice, it is denied';
  assert public.beat_job(job.id, job.fence) = 'lost', 'what was given up can be renewed';
  assert not public.finish_job(job.id, job.fence, 'completed', '{}'), 'what was given up can be recorded';
  assert (pg_temp.row_of(job.id)).status = 'running', 'giving up ends the job before its process is gone';
end $$;

do $$
declare
  dead public.scheduled_jobs := pg_temp.running();
  living public.scheduled_jobs := pg_temp.running();
begin
  update public.scheduled_jobs set locked_at = now() - interval '91 seconds' where id = dead.id;
  delete from public.sweep_state;
  perform public.reap_dead_leases();
  assert (pg_temp.row_of(dead.id)).status = 'running', 'the first sweep after a gap reaps';
  update public.sweep_state set swept_at = now(), grace_until = now();
  perform public.reap_dead_leases();
  dead := pg_temp.row_of(dead.id);
  assert dead.status = 'failed' and dead.died and dead.error like 'lease lost: %', 'a dead lease is not reaped';
  assert (dead.result ->> 'success')::boolean is false, 'a dead job has no result';
  assert dead.recover_at > now(), 'a dead job is not tried again';
  assert (pg_temp.row_of(living.id)).status = 'running', 'a living lease is reaped';
end $$;

rollback;

-- A job that has ended stays as it ended, whoever tries; and no job goes backwards.
begin;
set local plpgsql.check_asserts = on;
delete from public.maintenance;

do $$
declare
  terminal text;
  other text;
  job public.scheduled_jobs;
begin
  foreach terminal in array array['completed', 'failed', 'cancelled'] loop
    job := pg_temp.ended(terminal);
    assert job.completed_at is not null and job.slot_held is null, terminal || ' has no time, or holds the slot';
    foreach other in array array['pending', 'running', 'completed', 'failed', 'cancelled'] loop
      continue when other = terminal;
      assert pg_temp.refusal(
          format('update public.scheduled_jobs set status = %L where id = %L', other, job.id)) = 'SJ002',
        format('a job leaves %s for %s', terminal, other);
    end loop;
    assert pg_temp.take(job.id) ->> 'decision' = 'closed', format('a job that is %s can be taken', terminal);
    assert public.beat_job(job.id, job.fence) = 'lost', format('a job that is %s beats', terminal);
    assert public.cancel_job(job.id, 'somebody', 'somebody') ->> 'outcome'
      = case terminal when 'cancelled' then 'already' else 'ended' end,
        format('a job that is %s is cancelled', terminal);
    assert not public.close_unstarted_job(job.id, job.flow_run_id, 'failed', 'late'),
      format('a job that is %s is closed', terminal);
    assert public.bury_job(job.flow_run_id, 'a worker', 'late') = terminal,
      format('a job that is %s is buried', terminal);
    assert to_jsonb(pg_temp.row_of(job.id)) - 'updated_at' = to_jsonb(job) - 'updated_at',
      format('a job that is %s was changed', terminal);
  end loop;
end $$;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
begin
  assert pg_temp.refusal(
      format('update public.scheduled_jobs set status = ''pending'' where id = %L', job.id)) = 'SJ002',
    'a running job becomes pending';
  assert pg_temp.refusal(format('update public.scheduled_jobs set status = ''done'' where id = %L', job.id)) = '23514',
    'there is a sixth status';
  assert pg_temp.refusal(format('select public.finish_job(%L, %s, ''running'', ''{}'')', job.id, job.fence)) = '22023',
    'a job ends as running';
end $$;

do $$
declare
  job public.scheduled_jobs := pg_temp.running();
  done constant jsonb := '{"success": true, "itemsProcessed": 2}';
begin
  assert public.finish_job(job.id, job.fence, 'completed', done), 'it does not end';
  assert public.finish_job(job.id, job.fence, 'completed', done), 'told twice, its end is denied';
  assert not public.finish_job(job.id, job.fence, 'failed', done), 'another end is let through';
  assert not public.finish_job(job.id, job.fence, 'completed', '{"success": true, "itemsProcessed": 9}'),
    'another result is let through';
  assert (pg_temp.row_of(job.id)).updated_at > job.updated_at, 'updated_at does not move';
  assert (select array_agg(data ->> 'status' order by id) from public.job_events
            where job_id = job.id and kind in ('accepted', 'status'))
    = array['pending', 'running', 'completed'], 'the events do not tell each change once';
end $$;

do $$
declare
  waiting uuid := pg_temp.accept();
  job public.scheduled_jobs := pg_temp.running();
begin
  assert public.cancel_job(waiting, 'somebody', 'somebody') ->> 'outcome' = 'cancelled',
    'a pending job is not cancelled at once';
  assert public.cancel_job(job.id, 'somebody', 'somebody') ->> 'outcome' = 'cancelling',
    'a running job is called cancelled';
  assert (pg_temp.row_of(job.id)).status = 'running', 'cancelled is written before the work has stopped';
  assert public.beat_job(job.id, job.fence) = 'stop', 'the beat does not tell of the cancel';
  assert public.bury_job(job.flow_run_id, 'a worker', 'gone') = 'cancelled',
    'what was cancelled ends as something else';
end $$;

rollback;

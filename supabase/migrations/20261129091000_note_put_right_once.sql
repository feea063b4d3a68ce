-- A state that somebody set in Prefect is seen by an event, by the sweeps and by every replica of the shim: all of them put
-- it right, and one line of the audit says so. Before or after the deploy: a shim that does not name the state is noted as
-- before.
set lock_timeout = '5s';

create or replace function public.note_put_right(p_id uuid, p_job_type text, p_details jsonb) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('put right ' || p_id, 0));
  insert into public.scheduler_audit (actor, action, job_id, job_type, outcome, details)
    select 'prefect', 'change_state', p_id, p_job_type, 'put right', p_details
      where not exists (
        select from public.scheduler_audit a
          where a.job_id = p_id and a.action = 'change_state' and a.details ->> 'stateId' = p_details ->> 'stateId');
end $$;

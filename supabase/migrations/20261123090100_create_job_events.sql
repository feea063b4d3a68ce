-- Every change of a job, in the transaction that made it; what change streams read. Before the deploy.
set lock_timeout = '5s';

create table public.job_events (
  id bigint generated always as identity primary key,
  job_id uuid not null,
  at timestamptz not null default clock_timestamp(),
  kind text not null check (kind in ('accepted', 'waiting', 'dispatched', 'status', 'progress', 'cancel_requested')),
  data jsonb not null,
  -- A reader that resumes by id passes over rows of transactions still open; this tells it which those are.
  transaction_id xid8 not null default pg_current_xact_id()
);
create index job_events_job on public.job_events (job_id, id);
create index job_events_at on public.job_events using brin (at);
comment on table public.job_events is 'Changes of scheduled_jobs in order; kept 24 h';

alter table public.job_events enable row level security;
revoke all on public.job_events from anon, authenticated;
grant select, insert, delete on public.job_events to service_role;

create function public.note_job_event() returns trigger
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
  insert into public.job_events (job_id, kind, data) values (new.id, v_kind, v_data);
  return null;
end $$;

create trigger note_job_event after insert or update on public.scheduled_jobs
  for each row execute function public.note_job_event();

revoke execute on function public.note_job_event from public, anon, authenticated;
grant execute on function public.note_job_event to service_role;

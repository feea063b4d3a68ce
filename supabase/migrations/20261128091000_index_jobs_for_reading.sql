-- Indexes for reading ten million jobs, and none on what a beat changes. Before the deploy.
-- Each `create index` here holds writes back while it runs: nothing at thousands of rows, half a minute each at ten
-- million. With a table of that size first run the four `create index` statements by hand, outside of a transaction, with
-- `concurrently` after `create index`: this file then finds them.
set lock_timeout = '5s';

-- Any list by type, by status or by both is a merge of ranges of this one, one for each pair, read from the new end and
-- without a look at the rows; queue depths and bounded totals are lengths of such ranges.
create index if not exists idx_scheduled_jobs_type_status_created on public.scheduled_jobs (job_type, status, created_at, id);
-- The same for the jobs of one user: a user with 200,000 jobs of which 3 failed must not have all of them read.
create index if not exists idx_scheduled_jobs_user_type_status_created
  on public.scheduled_jobs (started_by, job_type, status, created_at, id) where started_by is not null;
-- A beat every 10 s and a progress every 5 s change updated_at and locked_at. As long as an index has such a column, even
-- one over a few rows only, each of them is a new entry in every index of the table; without, in none (HOT).
create index if not exists idx_scheduled_jobs_running_type on public.scheduled_jobs (job_type) where status = 'running';
create index if not exists idx_scheduled_jobs_open_runs on public.scheduled_jobs (id) where run_open;
drop index if exists public.idx_scheduled_jobs_running, public.idx_scheduled_jobs_run_open;
-- It was there twice.
drop index if exists public.idx_scheduled_jobs_parent_id;

create index scheduled_jobs_archive_type_status_created on public.scheduled_jobs_archive (job_type, status, created_at, id);
create index scheduled_jobs_archive_user_type_status_created
  on public.scheduled_jobs_archive (started_by, job_type, status, created_at, id) where started_by is not null;

-- Room on each page for the versions that a job's life makes, and a vacuum before a fifth of ten million rows is dead:
-- what it has not been over yet costs a look at the row for each index entry.
alter table public.scheduled_jobs set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);
alter table public.scheduled_jobs_archive set (autovacuum_vacuum_insert_scale_factor = 0.01);

-- How often a type ends in which way: without it the planner takes the two for independent.
create statistics public.scheduled_jobs_type_status (mcv) on job_type, status from public.scheduled_jobs;
create statistics public.scheduled_jobs_archive_type_status (mcv) on job_type, status from public.scheduled_jobs_archive;

create function public.job_types_present(p_archived boolean default false) returns setof text
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set enable_bitmapscan = off as $$
-- One descent of the index a type: `distinct` would read every entry.
declare
  v_type text;
begin
  if p_archived then
    select min(job_type) into v_type from public.scheduled_jobs_archive;
    while v_type is not null loop
      return next v_type;
      select min(job_type) into v_type from public.scheduled_jobs_archive where job_type > v_type;
    end loop;
  else
    select min(job_type) into v_type from public.scheduled_jobs;
    while v_type is not null loop
      return next v_type;
      select min(job_type) into v_type from public.scheduled_jobs where job_type > v_type;
    end loop;
  end if;
end $$;
comment on function public.job_types_present is 'The job types that rows have, in order';

revoke execute on function public.job_types_present from public, anon, authenticated;
grant execute on function public.job_types_present to service_role;

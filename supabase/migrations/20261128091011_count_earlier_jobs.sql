-- Counts the jobs that had ended before their ends were counted. Before the deploy. It holds nobody up, also where it takes
-- its time: a minute with ten million rows.
set lock_timeout = '5s';
set statement_timeout = 0;

select public.recount_job_stats();

-- For the estimates of totals: the statistics of type and status together are new.
analyze public.scheduled_jobs, public.scheduled_jobs_archive;

-- One job by its id in one call, wherever it lies. Before the deploy.
set lock_timeout = '5s';

create function public.get_job(p_id uuid) returns setof json
language sql stable security definer set search_path = '' as $$
-- One statement sees one state of the database: a job that is being archived is in one of the two. As a set of one:
-- PostgREST would parse a single value once more before it answers.
  select coalesce(
    (select row_to_json(j) from public.scheduled_jobs j where j.id = p_id),
    (select row_to_json(a) from public.scheduled_jobs_archive a where a.id = p_id))
$$;
comment on function public.get_job is 'The row of a job, also of an archived one; null for an unknown id';

revoke execute on function public.get_job from public, anon, authenticated;
grant execute on function public.get_job to service_role;

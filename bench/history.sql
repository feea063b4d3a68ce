-- What the benchmark of reading history works on: jobs of 90 days, seven types and fifty users, one in a hundred not
-- completed; filled without triggers and indexes, which are there again afterwards, and counted by our own function.
create schema bench;

create function bench.empty_jobs() returns void
language plpgsql as $$
begin
  truncate public.scheduled_jobs, public.scheduled_jobs_archive, public.job_events, public.job_stats_daily;
  create table bench.indexes as
    select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
      from pg_index where indrelid = 'public.scheduled_jobs'::regclass and not indisprimary;
  execute (select string_agg('drop index ' || name, '; ') from bench.indexes);
  alter table public.scheduled_jobs drop constraint scheduled_jobs_pkey;
  alter table public.scheduled_jobs disable trigger user;
end $$;

create function bench.add_jobs(p_from integer, p_to integer, p_rows integer) returns void
language sql as $$
-- Of p_rows jobs, the oldest being number 1, those from p_from to p_to. Two types are never cancelled.
  insert into public.scheduled_jobs (id, job_type, status, origin, priority, started_by, parameters, flow_run_id, attempt,
      fence, run_open, locked_by, locked_at, created_at, started_at, completed_at, updated_at, error, result, estimate)
    select gen_random_uuid(), d.job_type, d.status, 'dashboard', 'MEDIUM', md5('user' || d.actor)::uuid::text,
        '{"mode": "pending", "max_items": 1000, "batch_size": 100}', gen_random_uuid(), 1, 1, false, 'worker-7d9f/1',
        d.at + d.lasted, d.at, d.at + interval '2 seconds', d.at + interval '2 seconds' + d.lasted, d.at + d.lasted,
        case when d.status = 'failed' then 'the crawler service cannot answer (503)' end,
        jsonb_build_object('success', d.status = 'completed', 'itemsProcessed', d.items, 'errors', '[]'::jsonb,
          'details', jsonb_build_object('successfulCrawls', d.items - 2, 'failedCrawls', 2, 'duration', '45s')),
        '{"p10": 20, "p50": 40, "p90": 90, "runs": 50}'
      from (
        select k.at, k.actor, k.items, k.lasted, k.job_type,
            case when k.draw >= 0.01 then 'completed' when k.draw < 0.007 then 'failed'
                 when k.job_type in ('moderation_updates', 'weekly_digest') then 'completed' else 'cancelled' end as status
          from (
            select now() - interval '90 days' * (1 - i::float8 / p_rows) as at, (random() * 49)::integer as actor,
                random() as draw, (random() * 1000)::integer as items,
                make_interval(secs => 40 * exp(random() + random() - random() - random())) as lasted,
                (array['crawl_pending', 'weekly_digest', 'submission_notifications', 'moderation_updates',
                       'cleanup_old_data', 'update_metrics', 'recalculate_trending'])[1 + i % 7] as job_type
              from generate_series(p_from, p_to) i) k) d
$$;

create function bench.seal_jobs() returns void
language plpgsql as $$
-- The same few at every size: ten that wait and one that runs of each type, and three cancelled digests; and the indexes.
begin
  insert into public.scheduled_jobs (job_type, status, origin, priority, started_by, parameters, created_at, started_at)
    select t, case when n = 1 then 'running' else 'pending' end, 'dashboard', 'MEDIUM', md5('user1')::uuid::text,
        '{"max_items": 1000}', now() - n * interval '1 second', case when n = 1 then now() end
      from unnest(array['crawl_pending', 'weekly_digest', 'submission_notifications', 'moderation_updates',
                        'cleanup_old_data', 'update_metrics', 'recalculate_trending']) t, generate_series(1, 11) n;
  insert into public.scheduled_jobs (job_type, status, origin, started_by, created_at, completed_at)
    select 'weekly_digest', 'cancelled', 'dashboard', md5('user1')::uuid::text, at, at
      from (select now() - n * interval '20 days' as at from generate_series(1, 3) n) t;
  set local maintenance_work_mem = '512MB';
  alter table public.scheduled_jobs add constraint scheduled_jobs_pkey primary key (id);
  execute (select string_agg(definition, '; ') from bench.indexes);
  alter table public.scheduled_jobs enable trigger user;
end $$;

-- What the maintenance benchmark works on: made once, and put back before every measurement.
create schema if not exists bench;

create function bench.make_interactions(p_discoveries integer, p_users integer, p_rows integer) returns void
language plpgsql as $$
begin
  insert into public.discoveries (url, created_at)
    select 'http://bench/' || i, now() - i * interval '1 minute' from generate_series(1, p_discoveries) i;
  insert into public.users (clerk_user_id) select 'bench_' || i from generate_series(1, p_users) i;
  create table bench.discoveries as select id, row_number() over () as n from public.discoveries;
  create unique index on bench.discoveries (n);
  create table bench.users as select id, row_number() over () as n from public.users;
  create unique index on bench.users (n);
  -- Two to four years old, in the order of their time; one in five without a user; views more often than likes.
  create table bench.interactions as
    select gen_random_uuid() as id, case when random() < 0.8 then u.id end as user_id, d.id as discovery_id,
        (array['view', 'view', 'view', 'view', 'like', 'skip', 'save', 'share'])[1 + (random() * 8)::integer % 8] as type,
        now() - interval '4 years' + i * (interval '700 days' / p_rows) as created_at
      from (select i, 1 + floor(random() * p_users)::integer as u, 1 + floor(random() * p_discoveries)::integer as d
              from generate_series(1, p_rows) i) drawn
      join bench.users u on u.n = drawn.u join bench.discoveries d on d.n = drawn.d
      order by i;
end $$;

create function bench.place_interactions() returns void
language plpgsql as $$
begin
  truncate public.user_interactions, public.purged_interactions;
  insert into public.user_interactions (id, user_id, discovery_id, type, created_at)
    select id, user_id, discovery_id, type, created_at from bench.interactions
    on conflict do nothing;
end $$;

create function bench.place_discoveries(p_rows integer) returns void
language plpgsql as $$
begin
  -- Half a week old at most, and liked: nearly every one is admitted, and its score moves from 0.
  truncate public.discoveries, public.content_metrics, public.trending_content, public.user_interactions;
  insert into public.discoveries (id, url, title, description, domain, topics, created_at)
    select md5('bench' || i)::uuid, 'http://bench.example/pages/' || i, 'A page about something, number ' || i,
        repeat('What it is about, at the length of a sentence or two. ', 3), 'bench.example', '{science,history}',
        timestamptz '2026-11-25 12:00Z' - i * (interval '84 hours' / p_rows)
      from generate_series(1, p_rows) i;
  insert into public.content_metrics (discovery_id, likes_count, saves_count, shares_count, views_count)
    select md5('bench' || i)::uuid, 1 + i % 5, i % 3, i % 2, 10 + i % 40 from generate_series(1, p_rows) i;
end $$;

create function bench.place_jobs(p_rows integer) returns void
language plpgsql as $$
begin
  truncate public.scheduled_jobs, public.scheduled_jobs_archive, public.job_events;
  insert into public.scheduled_jobs (id, job_type, status, origin, priority, parameters, flow_run_id, attempt, fence,
      run_open, locked_by, created_at, started_at, completed_at, result)
    select md5('job' || i)::uuid, 'crawl_pending', 'completed', 'schedule', 'MEDIUM', '{"mode": "pending", "max_items": 1000}',
        md5('run' || i)::uuid, 1, 1, false, 'worker/1', at, at, at,
        '{"success": true, "itemsProcessed": 100, "errors": [], "details": {"successfulCrawls": 98, "failedCrawls": 2}}'
      from (select i, now() - interval '100 days' - i * interval '1 minute' as at from generate_series(1, p_rows) i) t;
end $$;

-- p_count ended jobs of the last p_days days, the same ones each time but for when "now" is: seven types, five people,
-- one in twenty failed or cancelled. For a session without triggers; job_stats_daily is to be counted afterwards.
insert into public.scheduled_jobs (id, job_type, status, origin, priority, started_by, parameters, flow_run_id, attempt,
    fence, run_open, locked_by, locked_at, created_at, started_at, completed_at, updated_at, error, result, estimate)
  select md5('job' || i)::uuid, d.job_type, d.status, d.origin, 'MEDIUM',
      case when d.origin = 'dashboard' then ('6f1c9a34-52d7-4c1e-9b60-3d1f0a7be00' || 1 + d.draw % 5) end,
      '{}', md5('run' || i)::uuid, 1, 1, false, 'sandbox', d.at + d.lasted, d.at, d.at + interval '2 seconds',
      d.at + interval '2 seconds' + d.lasted, d.at + interval '2 seconds' + d.lasted,
      case when d.status = 'failed' then 'none of ' || d.items || ' items succeeded: crawler answered 503' end,
      jsonb_build_object('success', d.status = 'completed', 'itemsProcessed', d.items,
        'errors', case when d.status = 'failed' then '["crawler answered 503"]'::jsonb else '[]'::jsonb end,
        'details', '{}'::jsonb),
      '{"p10": 20, "p50": 40, "p90": 90, "runs": 50}'
    from (
      select i, ('x' || substr(md5('draw' || i), 1, 7))::bit(28)::integer as draw,
          now() - make_interval(secs => 600 + i * (86400.0 * $2 / $1)) as at
        from generate_series(1, $1) i) k,
      lateral (
        select k.at, k.draw, k.draw % 1000 as items,
            make_interval(secs => 20 + k.draw % 71) as lasted,
            case when k.draw % 3 = 0 then 'dashboard' else 'schedule' end as origin,
            case when k.draw % 40 = 7 then 'failed' when k.draw % 40 = 8 then 'cancelled' else 'completed' end as status,
            (array['crawl_pending', 'weekly_digest', 'submission_notifications', 'moderation_updates',
                   'cleanup_old_data', 'update_metrics', 'recalculate_trending'])[1 + k.i % 7] as job_type) d

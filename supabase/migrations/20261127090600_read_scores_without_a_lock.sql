-- Scoring reads long stretches: it shares no lock with the job's row any more, and keeps only what moves. Before the
-- deploy.
set lock_timeout = '5s';

create function public.see_lease(p_id uuid, p_fence bigint) returns void
language plpgsql stable security definer set search_path = '' as $$
-- require_lease without its lock, for functions that change nothing but what they note under their own fence: a cancel
-- or a beat need not wait for them.
begin
  perform 1 from public.scheduled_jobs
    where id = p_id and fence = p_fence and status = 'running' and locked_at >= now() - public.lease_length();
  if not found then
    raise exception 'the lease of job % under fence % is not held any more', p_id, p_fence using errcode = 'SJ001';
  end if;
end $$;
comment on function public.see_lease is 'Raises SJ001 unless the job''s lease is held under this fence; locks nothing';

create or replace function public.open_scores(p_job uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
-- Begins a rescoring: forgets what earlier ones have left.
begin
  perform public.require_lease(p_job, p_fence);
  perform pg_advisory_xact_lock(hashtext('public.trending_moves'));
  if not exists (
       select from public.scheduled_jobs j
         where j.status = 'running' and j.id <> p_job and j.job_type in ('recalculate_trending', 'cleanup_old_data')) then
    truncate public.trending_moves;
  else
    -- A question for each row would take seconds for a million; the other rescoring keeps what it has noted.
    delete from public.trending_moves m
      where not exists (select from public.scheduled_jobs j
        where j.id = m.job_id and j.fence = m.fence and j.status = 'running' and j.id <> p_job);
  end if;
end $$;

create or replace function public.score_discoveries(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_as_of timestamptz default now(),
  p_floors jsonb default '{}', p_counted boolean default false, p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set work_mem = '64MB' set random_page_cost = 1.1 set jit = off as $$
-- Scores the next p_limit discoveries and notes those whose 24h score moves by a thousandth. No index of the site's
-- serves this, so the table is read once from end to end. "rows" are the scores that move; the answer has "top" as
-- well: for each window the best 100 of this stretch, not below what p_floors says ({window: {"score", "createdAt"}}).
-- p_counted: with the counts of the counting under way, for a dry run that has not written them.
declare
  v_began timestamptz := clock_timestamp();
  v_windows text[] := array['1h', '24h', '7d'];
  v_conditions text[] := array(
    select case when p_floors ? name then format('(%I, created_at) >= (%L::double precision, %L::timestamptz)',
          'score_' || name, p_floors -> name ->> 'score', p_floors -> name ->> 'createdAt')
        else format('%I > 0.01', 'score_' || name) end
      from unnest(array['1h', '24h', '7d']) with ordinality w (name, place) order by place);
  v_next jsonb := public.next_stretch('public.discoveries', p_after, p_limit);
  v_rows bigint;
  v_top jsonb;
begin
  perform public.see_lease(p_job, p_fence);
  execute format($sql$
    with scored as materialized (
      select * from (
        select at, id, before, created_at, likes, saves, shares, likes + saves + shares > 0 as admitted,
            least(1::double precision, weight * public.trending_decay(age, '1h')) as score_1h,
            least(1::double precision, weight * public.trending_decay(age, '24h')) as score_24h,
            least(1::double precision, weight * public.trending_decay(age, '7d')) as score_7d
          from (
            select d.ctid as at, d.id, d.trending_score as before, d.created_at, m.likes, m.saves, m.shares,
                public.trending_weight(m.likes, m.saves, m.shares, m.views) as weight,
                date_part('epoch', $3 - d.created_at) / 86400 as age
              from public.discoveries d
              left join %1$s m
                on m.discovery_id = d.id and d.is_active and d.deleted_at is null and d.created_at >= $3 - interval '30 days'
              where d.ctid > $1 and d.ctid <= $2
                and (d.trending_score is distinct from 0
                  or (d.is_active and d.deleted_at is null and d.created_at >= $3 - interval '30 days'))
              -- Weight and age are worked out once, and so is each score, not in every place that wants them.
              offset 0) found
          offset 0) every_score
        -- Most scores are as they were and far from the best: only the others are kept for what comes next.
        where public.score_has_moved(before, case when admitted and score_24h > 0.01 then score_24h else 0 end, 0.001)
          or (admitted and (%3$s))),
    contenders as materialized (select * from scored where admitted and (%3$s)),
    moving as materialized (
      select at, id, case when admitted and score_24h > 0.01 then score_24h else 0 end as score from scored
        where public.score_has_moved(before, case when admitted and score_24h > 0.01 then score_24h else 0 end, 0.001)),
    noted as (
      insert into public.trending_moves (job_id, fence, at, discovery_id, score)
        select $5, $6, at, id, score from moving where not $4 order by at)
    select (select count(*) from moving), jsonb_build_object(%2$s)
    $sql$,
    case when p_counted then 'public.counted_metrics'
      else '(select discovery_id, views_count as views, coalesce(likes_count, 0) as likes, coalesce(saves_count, 0) as saves,
              coalesce(shares_count, 0) as shares from public.content_metrics)' end,
    (select string_agg(format($top$
        %1$L, (select jsonb_agg(jsonb_build_object('id', id, 'createdAt', created_at, 'score', %2$I,
                  'likes', likes, 'saves', saves, 'shares', shares))
          from (select * from contenders where %3$s order by %2$I desc, created_at desc, id limit 100) best)$top$,
          name, 'score_' || name, condition), ',') from unnest(v_windows, v_conditions) c (name, condition)),
    array_to_string(v_conditions, ' or '))
    into v_rows, v_top
    using coalesce(p_after ->> 'at', '(0,0)')::tid, (v_next ->> 'at')::tid, p_as_of, p_dry_run, p_job, p_fence;
  return public.batch_done(p_job, 'scored', v_began, v_rows, (v_next ->> 'more')::boolean, v_next, true)
    || jsonb_build_object('top', v_top);
end $$;

revoke execute on function public.see_lease from public, anon, authenticated;
grant execute on function public.see_lease to service_role;

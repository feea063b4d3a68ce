-- Trending: every discovery's score, and the best 100 of each window. Before the deploy.
set lock_timeout = '5s';

-- Bodies in the standard's form are resolved when they are made and need no search_path; with one they could not become
-- part of the query that calls them, which would take ten times as long. All in float8: numeric takes twice.
create function public.trending_weight(
  p_likes double precision, p_saves double precision, p_shares double precision, p_views double precision
) returns double precision
language sql immutable parallel safe
return 5 * ((p_likes + p_saves + p_shares) / greatest(1::double precision, p_views))
  * ((3 * p_likes + 4 * p_saves + 5 * p_shares + 0.1::double precision * greatest(1::double precision, p_views))
     / greatest(1::double precision, 0.5::double precision * greatest(1::double precision, p_views)));
comment on function public.trending_weight is 'Score of a discovery from its counts alone: velocity, weight and the factor 5';

create function public.trending_decay(p_age_days double precision, p_window text) returns double precision
language sql immutable parallel safe
return case p_window
  when '1h' then case when p_age_days > 1 then 0 else exp(-4 * greatest(0::double precision, p_age_days)) end
  when '24h' then case when p_age_days > 7 then 0 else exp(greatest(0::double precision, p_age_days) / -2) end
  when '7d' then case when p_age_days > 30 then 0 else exp(greatest(0::double precision, p_age_days) / -7) end
end;
comment on function public.trending_decay is 'What is left of a score after so many days in a window (1h, 24h, 7d); negative ages count as 0';

create function public.trending_score(
  p_likes double precision, p_saves double precision, p_shares double precision, p_views double precision,
  p_age_days double precision, p_window text
) returns double precision
language sql immutable parallel safe
return least(1::double precision,
  public.trending_weight(p_likes, p_saves, p_shares, p_views) * public.trending_decay(p_age_days, p_window));
comment on function public.trending_score is 'Score of a discovery in a window (1h, 24h, 7d) from its counts and its age';

create function public.score_has_moved(p_before double precision, p_now double precision, p_by double precision)
returns boolean
language sql immutable parallel safe
-- Scores fall with every second; what fell by less than p_by of itself is not worth a new row. To 0, and from it, is a move.
return p_before is null or abs(p_now - p_before) > p_by * greatest(p_now, p_before);
comment on function public.score_has_moved is 'Whether a score differs by more than a share of itself';

-- Between the two steps of a run: reading holds up nobody and is fast in long stretches, writing is done in short ones.
-- Not logged: what a crash of the database takes out of it moves in the next run.
create unlogged table public.trending_moves (
  job_id uuid not null,
  fence bigint not null,
  at tid not null,
  discovery_id uuid not null,
  score double precision not null
);
comment on table public.trending_moves is 'Working table of the rescoring that is under way: scores that are to be written, and where the rows lie';
alter table public.trending_moves enable row level security;
revoke all on public.trending_moves from anon, authenticated;
grant select, insert, update, delete on public.trending_moves to service_role;

create function public.open_scores(p_job uuid, p_fence bigint) returns void
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
    delete from public.trending_moves m where m.job_id = p_job or not public.crawl_claim_lives(m.job_id, m.fence);
  end if;
end $$;
comment on function public.open_scores is 'Begins a rescoring of discoveries';

create function public.next_stretch(p_table regclass, p_after jsonb, p_limit integer) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- The next p_limit rows of a table as they lie in it, 512 MB at most: {"at": the last one's place, "end": the block at
-- which the table ended when the first stretch was asked for, "more": bool}.
declare
  v_low tid := coalesce(p_after ->> 'at', '(0,0)')::tid;
  v_block bigint := (v_low::text::point)[0] + 65536;
  v_end bigint := coalesce((p_after ->> 'end')::bigint,
    pg_relation_size(p_table) / current_setting('block_size')::bigint);
  v_high tid;
begin
  execute format('select ctid from %s where ctid > $1 and ctid < $2 offset $3 limit 1', p_table)
    into v_high using v_low, format('(%s,0)', v_block)::tid, p_limit - 1;
  v_high := coalesce(v_high, format('(%s,0)', v_block)::tid);
  return jsonb_build_object('at', v_high, 'end', v_end, 'more', (v_high::text::point)[0] < v_end);
end $$;
comment on function public.next_stretch is 'Where the next stretch of a table ends that is read as it lies';

create function public.score_discoveries(
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
  perform public.require_lease(p_job, p_fence);
  execute format($sql$
    with scored as materialized (
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
            -- Weight and age are worked out once, and not in each of the three places that want them.
            offset 0) found),
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
comment on function public.score_discoveries is 'Scores a stretch of discoveries: notes what moves, and returns the best';

create function public.move_scores(p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
-- Every row's place is known: nothing has to be read to find it.
set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off set jit = off
set plan_cache_mode = force_custom_plan as $$
-- Writes the next p_limit scores that were noted. A row that has moved on meanwhile is left to the next run.
declare
  v_began timestamptz := clock_timestamp();
  v_next jsonb := public.next_stretch('public.trending_moves', p_after, p_limit);
  v_rows bigint;
begin
  perform public.require_lease(p_job, p_fence);
  update public.discoveries d set trending_score = m.score from public.trending_moves m
    where m.ctid > coalesce(p_after ->> 'at', '(0,0)')::tid and m.ctid <= (v_next ->> 'at')::tid
      and m.job_id = p_job and m.fence = p_fence
      and d.ctid = m.at and d.id = m.discovery_id and d.trending_score is distinct from m.score;
  get diagnostics v_rows = row_count;
  return public.batch_done(p_job, 'scores', v_began, v_rows, (v_next ->> 'more')::boolean, v_next, false);
end $$;
comment on function public.move_scores is 'Writes a batch of the scores that were noted';

create function public.swap_trending(
  p_job uuid, p_fence bigint, p_as_of timestamptz, p_top jsonb, p_dry_run boolean default false
) returns integer
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
-- Puts the best of each window in the place of those that are there, all windows in one transaction; returns in how
-- many something has changed: a discovery, a count, or a score by 5 thousandths. p_top has up to 100 for each window; a
-- window without any keeps its rows.
declare
  v_window text;
  v_best jsonb;
  v_changed integer := 0;
begin
  perform public.require_lease(p_job, p_fence);
  -- Two at once would each delete what was there, and both insert.
  perform pg_advisory_xact_lock(hashtext('public.trending_content'));
  foreach v_window in array array['1h', '24h', '7d'] loop
    v_best := coalesce(p_top -> v_window, '[]');
    continue when jsonb_array_length(v_best) = 0;
    continue when jsonb_array_length(v_best) = (select count(*) from public.trending_content where time_window = v_window)
      and not exists (
        select from jsonb_to_recordset(v_best) b (id uuid, likes integer, saves integer, shares integer, score float8)
          left join public.trending_content t on t.discovery_id = b.id and t.time_window = v_window
          where (t.like_count, t.save_count, t.share_count) is distinct from (b.likes, b.saves, b.shares)
             or public.score_has_moved(t.trending_score::float8, b.score, 0.005));
    v_changed := v_changed + 1;
    continue when p_dry_run;
    delete from public.trending_content where time_window = v_window;
    insert into public.trending_content
        (discovery_id, time_window, interaction_count, like_count, save_count, share_count, trending_score, calculated_at)
      select id, v_window, likes + saves + shares, likes, saves, shares, score, p_as_of
        from jsonb_to_recordset(v_best) b (id uuid, likes integer, saves integer, shares integer, score numeric);
  end loop;
  return v_changed;
end $$;
comment on function public.swap_trending is 'Swaps the trending discoveries of every window in one transaction';

revoke execute on function public.trending_weight, public.trending_decay, public.trending_score,
  public.score_has_moved, public.open_scores, public.next_stretch, public.score_discoveries, public.move_scores,
  public.swap_trending from public, anon, authenticated;
grant execute on function public.trending_weight, public.trending_decay, public.trending_score,
  public.score_has_moved, public.open_scores, public.next_stretch, public.score_discoveries, public.move_scores,
  public.swap_trending to service_role;

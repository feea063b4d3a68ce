-- Recounting: content_metrics and the counts on discoveries from the interactions present and those purged. Before the
-- deploy.
--
-- Nothing of the site's finds interactions by discovery, and counting them once a discovery would read them all each
-- time. So one pass reads them in the order of their time, a batch at a time, and adds them up in metrics_counts; a
-- second one goes through the discoveries and writes what differs. Between batches everything may change: a purge takes
-- what it deletes out of metrics_counts where it has been counted, and each batch of the second pass reads counts and
-- purged in one snapshot. What users do meanwhile is in this counting or in the next.
-- With an index on user_interactions (discovery_id) the first pass is left out, and the second one counts.
set lock_timeout = '5s';

create view public.counted_metrics with (security_invoker = true) as
  select d.id as discovery_id,
      coalesce(c.views, 0) + coalesce(p.views, 0) as views,
      coalesce(c.total_views, 0) + coalesce(p.total_views, 0) as total_views,
      coalesce(c.likes, 0) + coalesce(p.likes, 0) as likes,
      coalesce(c.saves, 0) + coalesce(p.saves, 0) as saves,
      coalesce(c.shares, 0) + coalesce(p.shares, 0) as shares,
      coalesce(c.skips, 0) + coalesce(p.skips, 0) as skips
    from public.discoveries d
    left join public.metrics_counts c on c.discovery_id = d.id
    left join lateral (
      select sum(with_user) filter (where type = 'view') as views, sum(total) filter (where type = 'view') as total_views,
          sum(total) filter (where type = 'like') as likes, sum(total) filter (where type = 'save') as saves,
          sum(total) filter (where type = 'share') as shares, sum(total) filter (where type = 'skip') as skips
        from public.purged_interactions where discovery_id = d.id) p on true;
comment on view public.counted_metrics is 'Lifetime counts of every discovery as the counting under way has found them';

create view public.present_metrics with (security_invoker = true) as
  select d.id as discovery_id,
      c.views + coalesce(p.views, 0) as views, c.total_views + coalesce(p.total_views, 0) as total_views,
      c.likes + coalesce(p.likes, 0) as likes, c.saves + coalesce(p.saves, 0) as saves,
      c.shares + coalesce(p.shares, 0) as shares, c.skips + coalesce(p.skips, 0) as skips
    from public.discoveries d
    left join lateral (
      select count(user_id) filter (where type = 'view') as views, count(*) filter (where type = 'view') as total_views,
          count(*) filter (where type = 'like') as likes, count(*) filter (where type = 'save') as saves,
          count(*) filter (where type = 'share') as shares, count(*) filter (where type = 'skip') as skips
        from public.user_interactions where discovery_id = d.id) c on true
    left join lateral (
      select sum(with_user) filter (where type = 'view') as views, sum(total) filter (where type = 'view') as total_views,
          sum(total) filter (where type = 'like') as likes, sum(total) filter (where type = 'save') as saves,
          sum(total) filter (where type = 'share') as shares, sum(total) filter (where type = 'skip') as skips
        from public.purged_interactions where discovery_id = d.id) p on true;
comment on view public.present_metrics is 'Lifetime counts by discovery, counted at once: only where interactions are indexed by discovery';

revoke all on public.counted_metrics, public.present_metrics from anon, authenticated;
grant select on public.counted_metrics, public.present_metrics to service_role;

create function public.interactions_are_indexed() returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = 'public.user_interactions'::regclass and i.indisvalid and i.indpred is null
      and a.attname = 'discovery_id')
$$;
comment on function public.interactions_are_indexed is 'True where an index finds interactions by discovery';

create function public.own_pass(p_job uuid, p_fence bigint) returns public.metrics_pass
language plpgsql security definer set search_path = '' as $$
-- Raises SJ002 where the counting has to begin anew: its working table was lost in a crash of the database.
declare
  v_pass public.metrics_pass;
begin
  perform public.require_lease(p_job, p_fence);
  select * into v_pass from public.metrics_pass where job_id = p_job and fence = p_fence for update;
  if not found or not exists (select from public.metrics_counts where discovery_id = '00000000-0000-0000-0000-000000000000') then
    raise exception 'the counting of job % is gone and begins anew', p_job using errcode = 'SJ002';
  end if;
  return v_pass;
end $$;
comment on function public.own_pass is 'The counting of a job, locked';

create function public.open_metrics(
  p_job uuid, p_fence bigint, p_full boolean default null, p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
-- Begins a counting: {"wait": true} while another living job has one under way, else {"wait": false, "full": bool,
-- "since": time | null, "count": bool}. It is a full one where that is asked for and on the first; where p_full is null
-- also while the table is small: likes that were taken back leave no trace, and a full one finds them at once.
-- "count": whether count_interactions has to go first; a dry run always does, for what looks at its counts later.
declare
  v_pass public.metrics_pass;
  v_since timestamptz;
  v_full boolean;
begin
  perform public.require_lease(p_job, p_fence);
  -- Two that begin at once: the second waits here, and then sees the first. So does a purge.
  perform pg_advisory_xact_lock(hashtext('public.metrics_pass'));
  select * into v_pass from public.metrics_pass for update;
  if found and (v_pass.job_id, v_pass.fence) is distinct from (p_job, p_fence)
     and public.crawl_claim_lives(v_pass.job_id, v_pass.fence) then
    return '{"wait": true}';
  end if;
  -- An hour back: an interaction is seen when its transaction ends, and bears the time at which that began.
  select counted_at - interval '1 hour' into v_since from public.metrics_state;
  v_full := v_since is null or coalesce(p_full, pg_relation_size('public.user_interactions') < 512 * 1024 * 1024);
  delete from public.metrics_pass;
  insert into public.metrics_pass (job_id, fence, full_pass) values (p_job, p_fence, v_full);
  truncate public.metrics_counts;
  insert into public.metrics_counts (discovery_id) values ('00000000-0000-0000-0000-000000000000');
  return jsonb_build_object('wait', false, 'full', v_full, 'since', case when not v_full then v_since end,
    'count', p_dry_run or not public.interactions_are_indexed());
end $$;
comment on function public.open_metrics is 'Begins a counting of interactions';

create function public.mark_changed(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_since timestamptz default '-infinity'
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set enable_seqscan = off set random_page_cost = 1.1 set jit = off set plan_cache_mode = force_custom_plan as $$
-- Notes the discoveries of the next p_limit interactions created since: a counting that is not full looks at those.
declare
  v_began timestamptz := clock_timestamp();
  v_from timestamptz := coalesce((p_after #>> '{}')::timestamptz, p_since);
  v_next timestamptz;
begin
  perform public.require_lease(p_job, p_fence);
  perform public.own_pass(p_job, p_fence);
  select created_at into v_next from public.user_interactions
    where created_at >= v_from order by created_at offset p_limit limit 1;
  if v_next = v_from then
    select min(created_at) into v_next from public.user_interactions where created_at > v_from;
  end if;
  insert into public.metrics_counts (discovery_id)
    select distinct discovery_id from public.user_interactions
      where created_at >= v_from and created_at < coalesce(v_next, 'infinity')
    on conflict do nothing;
  return public.batch_done(p_job, 'marked', v_began, 0, v_next is not null, to_jsonb(v_next), true);
end $$;
comment on function public.mark_changed is 'Notes which discoveries a counting of what has changed looks at';

create function public.count_interactions(p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set enable_seqscan = off set random_page_cost = 1.1 set jit = off set plan_cache_mode = force_custom_plan as $$
-- Adds the next p_limit interactions, in the order of their time, to metrics_counts and moves the position on in the
-- same transaction: called again after a lost answer it simply goes on, which is why p_after is not looked at. Where
-- more than p_limit were created in one instant, they are counted a slice at a time.
declare
  v_began timestamptz := clock_timestamp();
  v_pass public.metrics_pass;
  v_from timestamptz;
  v_before timestamptz;
  v_slice integer;
  v_rows bigint;
begin
  perform public.require_lease(p_job, p_fence);
  v_pass := public.own_pass(p_job, p_fence);
  v_from := v_pass.counted_before;
  select created_at into v_before from public.user_interactions
    where created_at >= v_from order by created_at offset p_limit limit 1;
  if v_before = v_from or v_pass.counted_slices > 0 then
    v_slice := v_pass.counted_slices;
    v_before := v_from;
  end if;
  with found as (
    select i.discovery_id,
        count(i.user_id) filter (where i.type = 'view') as views, count(*) filter (where i.type = 'view') as total_views,
        count(*) filter (where i.type = 'like') as likes, count(*) filter (where i.type = 'save') as saves,
        count(*) filter (where i.type = 'share') as shares, count(*) filter (where i.type = 'skip') as skips,
        count(*) as interactions
      from public.user_interactions i
      where i.created_at >= v_from
        and case when v_slice is null then i.created_at < coalesce(v_before, 'infinity')
                 else i.created_at <= v_before and public.interaction_slice(i.discovery_id) = v_slice end
        and (v_pass.full_pass or exists (select from public.metrics_counts m where m.discovery_id = i.discovery_id))
      group by i.discovery_id),
  added as (
    insert into public.metrics_counts as c (discovery_id, views, total_views, likes, saves, shares, skips)
      select discovery_id, views, total_views, likes, saves, shares, skips from found
      on conflict (discovery_id) do update set
        views = c.views + excluded.views, total_views = c.total_views + excluded.total_views,
        likes = c.likes + excluded.likes, saves = c.saves + excluded.saves, shares = c.shares + excluded.shares,
        skips = c.skips + excluded.skips)
  select coalesce(sum(interactions), 0) into v_rows from found;
  if v_slice = 15 then
    select min(created_at) into v_before from public.user_interactions where created_at > v_from;
  end if;
  update public.metrics_pass set
    counted_before = coalesce(v_before, 'infinity'),
    counted_slices = case when v_slice < 15 then v_slice + 1 else 0 end;
  return public.batch_done(p_job, 'counted', v_began, v_rows, v_before is not null, null, true);
end $$;
comment on function public.count_interactions is 'Counts a batch of interactions by discovery';

create function public.apply_metrics(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set work_mem = '32MB' set random_page_cost = 1.1 set jit = off as $$
-- Writes what was counted of the next p_limit discoveries, by id after p_after: to content_metrics, and on the
-- discoveries, where it differs. "rows" are the discoveries of which something did.
declare
  v_began timestamptz := clock_timestamp();
  v_after uuid := coalesce((p_after #>> '{}')::uuid, '00000000-0000-0000-0000-000000000000');
  v_pass public.metrics_pass;
  v_last uuid;
  v_rows bigint;
begin
  perform public.require_lease(p_job, p_fence);
  v_pass := public.own_pass(p_job, p_fence);
  execute format($sql$
    with stretch as materialized (
      select %3$I as id from public.%2$I where %3$I > $1 order by %3$I limit $2),
    wanted as materialized (
      select w.discovery_id as id, w.views::integer, w.total_views::bigint, w.likes::integer, w.saves::integer,
          w.shares::integer, w.skips::integer,
          case when w.views > 0 then (w.likes + w.saves)::numeric / w.views else 0 end as engagement
        from stretch s join public.%1$I w on w.discovery_id = s.id),
    differing as materialized (
      select w.* from wanted w left join public.content_metrics m on m.discovery_id = w.id
        where (m.discovery_id is not null or w.total_views + w.likes + w.saves + w.shares + w.skips > 0)
          and (m.views_count, m.total_views_count, m.likes_count, m.saves_count, m.shares_count, m.skip_count,
               m.engagement_rate)
            is distinct from (w.views, w.total_views, w.likes, w.saves, w.shares, w.skips, w.engagement)),
    misleading as materialized (
      select w.* from wanted w join public.discoveries d on d.id = w.id
        where (d.view_count, d.like_count, d.save_count, d.share_count)
          is distinct from (w.total_views, w.likes, w.saves, w.shares)),
    written as (
      insert into public.content_metrics as m (discovery_id, views_count, total_views_count, likes_count, saves_count,
          shares_count, skip_count, engagement_rate, last_updated)
        select id, views, total_views, likes, saves, shares, skips, engagement, now() from differing
          where not $3 order by id
        on conflict (discovery_id) do update set
          views_count = excluded.views_count, total_views_count = excluded.total_views_count,
          likes_count = excluded.likes_count, saves_count = excluded.saves_count, shares_count = excluded.shares_count,
          skip_count = excluded.skip_count, engagement_rate = excluded.engagement_rate,
          last_updated = excluded.last_updated),
    shown as (
      update public.discoveries d set
          view_count = w.total_views, like_count = w.likes, save_count = w.saves, share_count = w.shares
        from misleading w where not $3 and d.id = w.id)
    select (select id from stretch order by id desc limit 1),
        (select count(*) from (select id from differing union select id from misleading) changed)
    $sql$,
    case when public.interactions_are_indexed() and not p_dry_run then 'present_metrics' else 'counted_metrics' end,
    case when v_pass.full_pass then 'discoveries' else 'metrics_counts' end,
    case when v_pass.full_pass then 'id' else 'discovery_id' end)
    into v_last, v_rows using v_after, p_limit, p_dry_run;
  return public.batch_done(p_job, 'metrics', v_began, v_rows, v_last is not null, to_jsonb(v_last), p_dry_run);
end $$;
comment on function public.apply_metrics is 'Writes the counts of a batch of discoveries where they differ';

create function public.close_metrics(p_job uuid, p_fence bigint, p_dry_run boolean default false) returns void
language plpgsql security definer set search_path = '' set lock_timeout = '1s' as $$
-- Ends a counting. The next one looks for what has changed since this one began. Harmless when it is called again.
begin
  perform public.require_lease(p_job, p_fence);
  if not p_dry_run then
    insert into public.metrics_state (counted_at)
      select started_at from public.metrics_pass where job_id = p_job and fence = p_fence
      on conflict (only_row) do update set counted_at = excluded.counted_at;
  end if;
  delete from public.metrics_pass where job_id = p_job and fence = p_fence;
  if found then truncate public.metrics_counts; end if;
end $$;
comment on function public.close_metrics is 'Ends a counting of interactions';

revoke execute on function public.interactions_are_indexed, public.own_pass, public.open_metrics, public.mark_changed,
  public.count_interactions, public.apply_metrics, public.close_metrics from public, anon, authenticated;
grant execute on function public.interactions_are_indexed, public.own_pass, public.open_metrics, public.mark_changed,
  public.count_interactions, public.apply_metrics, public.close_metrics to service_role;

-- Cleanup: interactions older than 2 years go and leave their number behind; what is kept for a time goes when it is over.
-- Before the deploy. Every function here works a batch at a time: the caller says how much, and how to go on.
set lock_timeout = '5s';

create table public.purged_interactions (
  discovery_id uuid not null,
  type text not null,
  with_user bigint not null default 0,
  total bigint not null default 0,
  primary key (discovery_id, type)
) with (fillfactor = 70);
comment on table public.purged_interactions is 'How many interactions were deleted for their age: rows present plus these are the lifetime counts';
comment on column public.purged_interactions.with_user is 'Those of `total` that had a user';

create table public.maintenance_counts (
  job_id uuid not null,
  step text not null,
  done bigint not null,
  primary key (job_id, step)
);
comment on table public.maintenance_counts is 'What a running maintenance job has done, counted where it was done: an answer that is lost loses no count';

-- Of one counting of interactions at a time: where it stands, and what it has counted. The counts are worth nothing
-- after a crash, so they are not logged; then they are empty, and the row of the zero id, which begins every counting,
-- is missing as well.
create table public.metrics_pass (
  only_row boolean primary key default true check (only_row),
  job_id uuid not null,
  fence bigint not null,
  started_at timestamptz not null default now(),
  full_pass boolean not null,
  counted_before timestamptz not null default '-infinity',
  counted_slices integer not null default 0
);
comment on table public.metrics_pass is 'The counting of interactions that is under way; it belongs to one job under one fence';
comment on column public.metrics_pass.counted_before is 'Interactions created before are counted, of those created then the first counted_slices';

create unlogged table public.metrics_counts (
  discovery_id uuid primary key,
  views bigint not null default 0,
  total_views bigint not null default 0,
  likes bigint not null default 0,
  saves bigint not null default 0,
  shares bigint not null default 0,
  skips bigint not null default 0
) with (fillfactor = 70);
comment on table public.metrics_counts is 'Working table of the counting that is under way: interactions present, by discovery';

create table public.metrics_state (
  only_row boolean primary key default true check (only_row),
  counted_at timestamptz not null
);
comment on table public.metrics_state is 'When the last finished counting began: the next one looks for what has changed since';

alter table public.purged_interactions enable row level security;
alter table public.maintenance_counts enable row level security;
alter table public.metrics_pass enable row level security;
alter table public.metrics_counts enable row level security;
alter table public.metrics_state enable row level security;
revoke all on public.purged_interactions, public.maintenance_counts, public.metrics_pass, public.metrics_counts,
  public.metrics_state from anon, authenticated;
grant select, insert, update, delete on public.purged_interactions, public.maintenance_counts, public.metrics_pass,
  public.metrics_counts, public.metrics_state to service_role;

create function public.calendar_before(p_as_of timestamptz, p_span interval) returns timestamptz
language sql immutable set search_path = '' as $$
-- In UTC, whatever the session's time zone: two years before 29 February is the 28th.
  select (p_as_of at time zone 'UTC' - p_span) at time zone 'UTC'
$$;
comment on function public.calendar_before is 'A time that many calendar years, days or hours earlier';

create function public.interaction_slice(p_discovery_id uuid) returns integer
language sql immutable set search_path = '' as
$$ select uuid_hash(p_discovery_id) & 15 $$;
comment on function public.interaction_slice is 'Which of 16 slices an interaction belongs to, where too many were created in one instant';

create function public.batch_done(
  p_job uuid, p_step text, p_began timestamptz, p_rows bigint, p_more boolean, p_after jsonb, p_dry_run boolean
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- The answer of every function that works in batches:
--   {"rows": of this batch, "done": of this job so far, "more": bool, "after": where the next batch begins, "seconds"}.
-- What deletes says "more" until it has found nothing: a batch is smaller than it may be when another run was faster.
-- A dry run writes nothing: its caller adds up `rows`, and "done" is null.
declare
  v_done bigint;
begin
  if not p_dry_run then
    insert into public.maintenance_counts as c (job_id, step, done) values (p_job, p_step, p_rows)
      on conflict (job_id, step) do update set done = c.done + excluded.done
      returning done into v_done;
  end if;
  return jsonb_build_object('rows', p_rows, 'done', v_done, 'more', p_more, 'after', p_after,
    'seconds', extract(epoch from clock_timestamp() - p_began));
end $$;
comment on function public.batch_done is 'Counts a batch and makes its answer';

create function public.open_maintenance(p_job uuid, p_fence bigint, p_dry_run boolean default false) returns timestamptz
language plpgsql security definer set search_path = '' as $$
-- The time this run works as of. Forgets what jobs that have ended had counted.
begin
  perform public.require_lease(p_job, p_fence);
  if not p_dry_run then
    delete from public.maintenance_counts c
      where not exists (select from public.scheduled_jobs j where j.id = c.job_id and j.status = 'running');
  end if;
  return now();
end $$;
comment on function public.open_maintenance is 'Begins a maintenance run: returns the time it works as of';

create function public.purge_interactions(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_as_of timestamptz default now(),
  p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
-- The plan must be the one over created_at whatever the statistics say, and know its bounds.
set enable_seqscan = off set random_page_cost = 1.1 set jit = off set plan_cache_mode = force_custom_plan as $$
-- Deletes the next p_limit interactions older than two years and adds them to purged_interactions in the same statement,
-- so that rows present plus purged are the same before and after it. p_after: the time up to which earlier batches have
-- been; without it the search begins at the oldest, which is also how it ends, for what was passed over.
-- A counting under way has counted those created before its position; they leave its counts as well.
declare
  v_began timestamptz := clock_timestamp();
  v_from timestamptz := coalesce((p_after #>> '{}')::timestamptz, '-infinity');
  v_before timestamptz := public.calendar_before(least(p_as_of, now()), interval '2 years');
  v_next timestamptz;
  v_rows bigint;
  v_pass public.metrics_pass;
  v_counting boolean;
begin
  perform public.require_lease(p_job, p_fence);
  if p_dry_run then
    select created_at into v_next from public.user_interactions
      where created_at >= v_from and created_at < v_before order by created_at offset p_limit limit 1;
    if v_next = v_from then
      select min(created_at) into v_next from public.user_interactions where created_at > v_from and created_at < v_before;
    end if;
    select count(*) into v_rows from public.user_interactions
      where created_at >= v_from and created_at < coalesce(v_next, v_before);
    return public.batch_done(p_job, 'interactions', v_began, v_rows, v_next is not null, to_jsonb(v_next), true);
  end if;

  -- A counting that begins waits for this purge, and a purge that begins sees the counting.
  perform pg_advisory_xact_lock_shared(hashtext('public.metrics_pass'));
  select * into v_pass from public.metrics_pass for share;
  v_counting := found;
  with gone as (
    delete from public.user_interactions
      where ctid = any (array(
          select i.ctid from public.user_interactions i
            where i.created_at >= v_from and i.created_at < v_before
            order by i.created_at limit p_limit))
        and created_at < v_before
      returning discovery_id, type, user_id, created_at),
  summed as (
    select discovery_id, type, count(*) as total, count(user_id) as with_user, max(created_at) as newest,
        count(*) filter (where v_counting and (created_at < v_pass.counted_before or (created_at = v_pass.counted_before
            and public.interaction_slice(discovery_id) < v_pass.counted_slices))) as counted,
        count(user_id) filter (where v_counting and (created_at < v_pass.counted_before or (created_at = v_pass.counted_before
            and public.interaction_slice(discovery_id) < v_pass.counted_slices))) as counted_with_user
      from gone group by discovery_id, type),
  noted as (
    -- In one order, so that two purges beside each other wait for one another and never in a circle.
    insert into public.purged_interactions as p (discovery_id, type, with_user, total)
      select discovery_id, type, with_user, total from summed order by discovery_id, type
      on conflict (discovery_id, type) do update
        set with_user = p.with_user + excluded.with_user, total = p.total + excluded.total),
  uncounted as (
    update public.metrics_counts c set
        views = c.views - s.views, total_views = c.total_views - s.total_views, likes = c.likes - s.likes,
        saves = c.saves - s.saves, shares = c.shares - s.shares, skips = c.skips - s.skips
      from (
        select discovery_id,
            coalesce(sum(counted_with_user) filter (where type = 'view'), 0) as views,
            coalesce(sum(counted) filter (where type = 'view'), 0) as total_views,
            coalesce(sum(counted) filter (where type = 'like'), 0) as likes,
            coalesce(sum(counted) filter (where type = 'save'), 0) as saves,
            coalesce(sum(counted) filter (where type = 'share'), 0) as shares,
            coalesce(sum(counted) filter (where type = 'skip'), 0) as skips
          from summed where v_counting and counted > 0 group by discovery_id) s
      where v_counting and c.discovery_id = s.discovery_id)
  select coalesce(sum(total), 0), max(newest) into v_rows, v_next from summed;
  return public.batch_done(p_job, 'interactions', v_began, v_rows, v_rows > 0 or p_after is not null,
    case when v_rows >= p_limit then to_jsonb(v_next) end, false);
end $$;
comment on function public.purge_interactions is 'Deletes a batch of interactions older than two years, and keeps their number';

create function public.forget_expired(
  p_job uuid, p_fence bigint, p_limit integer, p_what text, p_after jsonb default null, p_as_of timestamptz default now(),
  p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set random_page_cost = 1.1 set jit = off set plan_cache_mode = force_custom_plan as $$
-- Deletes the next p_limit rows of one of our tables whose time is over.
declare
  v_began timestamptz := clock_timestamp();
  v_column text;
  v_kept interval;
  v_before timestamptz;
  v_rows bigint := 0;
begin
  perform public.require_lease(p_job, p_fence);
  case p_what
    when 'email_deliveries' then v_column := 'created_at'; v_kept := interval '400 days';
    when 'scheduler_audit' then v_column := 'at'; v_kept := interval '2 years';
    when 'scheduled_jobs_archive' then v_column := 'completed_at'; v_kept := interval '2 years';
    when 'idempotency_keys' then v_column := 'created_at'; v_kept := interval '24 hours';
    when 'job_events' then v_column := 'at'; v_kept := interval '24 hours';
    else raise exception 'nothing is known to expire in %', p_what using errcode = '22023';
  end case;
  v_before := public.calendar_before(least(p_as_of, now()), v_kept);
  if to_regclass(format('public.%I', p_what)) is null then
    return public.batch_done(p_job, p_what, v_began, 0, false, null, p_dry_run);
  end if;
  if p_dry_run then
    execute format('select count(*) from public.%I where %I < $1', p_what, v_column) using v_before into v_rows;
    return public.batch_done(p_job, p_what, v_began, v_rows, false, null, true);
  end if;
  execute format(
    'delete from public.%1$I where ctid = any (array(select ctid from public.%1$I where %2$I < $1 limit $2)) and %2$I < $1',
    p_what, v_column) using v_before, p_limit;
  get diagnostics v_rows = row_count;
  return public.batch_done(p_job, p_what, v_began, v_rows, v_rows > 0, null, false);
end $$;
comment on function public.forget_expired is 'Deletes a batch of our own rows that are kept for a time only';

create function public.forget_email_ids(
  p_job uuid, p_fence bigint, p_limit integer, p_after jsonb default null, p_as_of timestamptz default now(),
  p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' set lock_timeout = '1s'
set random_page_cost = 1.1 set jit = off set plan_cache_mode = force_custom_plan as $$
-- Takes the mail service's ids out of the next p_limit rows of the mail ledger whose users are deleted, or gone.
declare
  v_began timestamptz := clock_timestamp();
  v_after bigint := coalesce((p_after #>> '{}')::bigint, 0);
  v_last bigint;
  v_rows bigint := 0;
begin
  perform public.require_lease(p_job, p_fence);
  if to_regclass('public.email_deliveries') is null then
    return public.batch_done(p_job, 'email_ids', v_began, 0, false, null, p_dry_run);
  end if;
  select max(id) into v_last from (
    select id from public.email_deliveries where id > v_after order by id limit p_limit) stretch;
  if p_dry_run then
    select count(*) into v_rows from public.email_deliveries e
      where e.id > v_after and e.id <= v_last and e.email_id is not null
        and not exists (select from public.users u where u.id = e.user_id and u.deleted_at is null);
  else
    update public.email_deliveries e set email_id = null
      where e.id > v_after and e.id <= v_last and e.email_id is not null
        and not exists (select from public.users u where u.id = e.user_id and u.deleted_at is null);
    get diagnostics v_rows = row_count;
  end if;
  return public.batch_done(p_job, 'email_ids', v_began, v_rows, v_last is not null, to_jsonb(v_last), p_dry_run);
end $$;
comment on function public.forget_email_ids is 'Removes the e-mail ids of deleted users from a stretch of the mail ledger';

revoke execute on function public.calendar_before, public.interaction_slice, public.batch_done, public.open_maintenance,
  public.purge_interactions, public.forget_expired, public.forget_email_ids from public, anon, authenticated;
grant execute on function public.calendar_before, public.interaction_slice, public.batch_done, public.open_maintenance,
  public.purge_interactions, public.forget_expired, public.forget_email_ids to service_role;

-- Crawling again: pages whose last crawl is old, and pages that somebody names. Before the deploy. The claims are those
-- of pending pages: whichever mode a run has, a discovery is in one hand at a time.
set lock_timeout = '5s';

alter table public.crawl_claims
  add column if not exists was text,
  add column if not exists crawled_before timestamptz,
  add column if not exists given_up_at timestamptz;
comment on column public.crawl_claims.was is 'What crawl_status the row had, and keeps; null for a first crawl';
comment on column public.crawl_claims.crawled_before is
  'A re-crawl: the row''s last_crawled_at at the claim; another one tells that it was crawled';
comment on column public.crawl_claims.given_up_at is
  'A re-crawl that was not settled in all its attempts: in nobody''s hands, and not stale for a day';

create table public.stale_walk (
  only_row boolean primary key default true check (only_row),
  next_block bigint not null,
  walked_at timestamptz not null default now()
);
comment on table public.stale_walk is 'Where the search for stale pages goes on, in blocks of the table discoveries';
alter table public.stale_walk enable row level security;
revoke all on public.stale_walk from anon, authenticated;
grant select, insert, update, delete on public.stale_walk to service_role;

create or replace function public.open_crawl(p_job uuid, p_fence bigint, p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
-- Puts back what dead runs left behind, then returns how many discoveries wait, counted up to p_limit.
begin
  perform public.require_lease(p_job, p_fence);
  -- Rows in the hands of a dead run: asking the crawler again is harmless, so nothing is waited for.
  update public.discoveries d set crawl_status = coalesce(c.was, 'pending')
    from public.crawl_claims c
    where c.discovery_id = d.id and d.crawl_status = 'crawling'
      and not public.crawl_claim_lives(c.job_id, c.fence);
  delete from public.crawl_claims c
    where not public.crawl_claim_lives(c.job_id, c.fence)
      and case when c.was is null
        then c.attempts = 0 or not exists (select from public.discoveries d
               where d.id = c.discovery_id and d.crawl_status in ('pending', 'crawling'))
        -- The crawler may be at it still: for a day it is remembered what its row was.
        else c.claimed_at < now() - interval '1 day' end;
  return (select count(*) from (
    select from public.discoveries d
      where d.crawl_status = 'pending' and d.deleted_at is null
        and not exists (select from public.crawl_claims c
              where c.discovery_id = d.id and public.crawl_claim_lives(c.job_id, c.fence))
      limit p_limit) waiting);
end $$;

create or replace function public.rescue_crawling(
  p_job uuid, p_fence bigint, p_from_block bigint, p_blocks integer
) returns bigint
language plpgsql security definer set search_path = '' as $$
-- Puts back rows left crawling for 10 minutes that nobody claims: somebody else called the crawler, or it lost them.
-- No index of the site's serves this, so a stretch of the table is read at a time; returns the block to go on from,
-- null at the end.
declare
  v_end bigint := pg_relation_size('public.discoveries') / current_setting('block_size')::bigint;
begin
  perform public.require_lease(p_job, p_fence);
  update public.discoveries d set crawl_status =
      coalesce((select c.was from public.crawl_claims c where c.discovery_id = d.id), 'pending')
    where d.ctid >= format('(%s,0)', p_from_block)::tid and d.ctid < format('(%s,0)', p_from_block + p_blocks)::tid
      and d.crawl_status = 'crawling'
      and greatest(d.updated_at, d.last_crawled_at, d.created_at) < now() - interval '10 minutes'
      and not exists (select from public.crawl_claims c
            where c.discovery_id = d.id and public.crawl_claim_lives(c.job_id, c.fence));
  return case when p_from_block + p_blocks < v_end then p_from_block + p_blocks end;
end $$;
comment on function public.rescue_crawling is
  'Returns discoveries left crawling to what they were, a stretch of the table at a time';

create or replace function public.claim_crawl_batch(p_job uuid, p_fence bigint, p_limit integer, p_round integer)
returns table (id uuid, url text)
language plpgsql security definer set search_path = '' as $$
-- Called again in the same round, after a lost answer, it returns the rows that round has claimed.
-- At most p_limit discoveries, oldest first, each in the hands of this (job, fence) from now on.
-- The second statement has a newer snapshot than the first, taken while the rows are locked: a claim that was
-- committed in between is seen by its on-conflict condition, so two runs never hold the same row.
#variable_conflict use_column
declare
  v_found uuid[];
  v_claimed uuid[];
begin
  perform public.require_lease(p_job, p_fence);
  select array_agg(c.discovery_id) into v_claimed from public.crawl_claims c
    where c.job_id = p_job and c.fence = p_fence and c.claim_round = p_round;
  loop
    exit when v_claimed is not null;
    v_found := array(
      select d.id from public.discoveries d
        where d.crawl_status = 'pending' and d.deleted_at is null
          and not exists (select from public.crawl_claims c
                where c.discovery_id = d.id and public.crawl_claim_lives(c.job_id, c.fence))
        order by d.created_at
        limit p_limit
        for no key update of d skip locked);
    exit when cardinality(v_found) = 0;
    with claimed as (
      insert into public.crawl_claims as c (discovery_id, job_id, fence, claim_round)
        select unnest(v_found), p_job, p_fence, p_round
      on conflict (discovery_id) do update
        set job_id = excluded.job_id, fence = excluded.fence, claimed_at = now(), lost_at = null,
            claim_round = excluded.claim_round, judged_round = null,
            -- The attempts of a re-crawl are not those of a first crawl.
            attempts = case when c.was is null then c.attempts else 0 end,
            was = null, crawled_before = null, given_up_at = null
        where not public.crawl_claim_lives(c.job_id, c.fence)
      returning c.discovery_id)
    select array_agg(claimed.discovery_id) into v_claimed from claimed;
  end loop;
  return query select d.id, d.url from public.discoveries d where d.id = any (v_claimed) order by d.created_at;
end $$;

create function public.find_stale(
  p_job uuid, p_fence bigint, p_older_than_days integer, p_limit integer, p_blocks integer,
  p_from_block bigint default null, p_walked bigint default 0
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- {"ids": the oldest stale discoveries of one stretch of the table, "next": block to go on from, "walked": blocks read
-- so far in this walk, "over": whether it has come round}.
-- No index of the site's tells the age of a crawl, so a stretch is read at a time: the oldest come first within it. A
-- walk begins (p_from_block null) where the last one was. The stretch it is at is noted, and not the one after it: a
-- run that dies leaves what it has not done to the next.
declare
  v_total bigint := greatest(1, pg_relation_size('public.discoveries') / current_setting('block_size')::bigint);
  v_from bigint;
  v_to bigint;
  v_ids uuid[];
begin
  perform public.require_lease(p_job, p_fence);
  v_from := coalesce(p_from_block, (select w.next_block from public.stale_walk w), 0);
  if v_from >= v_total then v_from := 0; end if;
  v_to := least(v_from + p_blocks, v_from + greatest(v_total - p_walked, 1), v_total);
  insert into public.stale_walk (next_block) values (v_from)
    on conflict (only_row) do update set next_block = excluded.next_block, walked_at = now();
  v_ids := array(
    select d.id from public.discoveries d
      where d.ctid >= format('(%s,0)', v_from)::tid and d.ctid < format('(%s,0)', v_to)::tid
        and d.crawl_status = 'completed' and d.deleted_at is null
        and coalesce(d.last_crawled_at, d.created_at) < now() - make_interval(days => p_older_than_days)
        and not exists (select from public.crawl_claims c
              where c.discovery_id = d.id
                and (c.given_up_at > now() - interval '1 day' or public.crawl_claim_lives(c.job_id, c.fence)))
      order by coalesce(d.last_crawled_at, d.created_at)
      limit p_limit);
  return jsonb_build_object('ids', to_jsonb(v_ids), 'next', case when v_to < v_total then v_to else 0 end,
    'walked', p_walked + v_to - v_from, 'over', p_walked + v_to - v_from >= v_total);
end $$;
comment on function public.find_stale is
  'Discoveries of a stretch of the table whose last crawl is old, the oldest first';

create function public.claim_recrawl_batch(
  p_job uuid, p_fence bigint, p_ids uuid[], p_round integer, p_older_than_days integer default null
) returns table (id uuid, url text, outcome text)
language plpgsql security definer set search_path = '' as $$
-- Claims these discoveries, whatever their crawl_status, which they keep; with p_older_than_days only those that are
-- stale still. Outcomes: claimed; held (in another run's hands, changed this instant, or not stale any more); gone
-- (there is none, or it is deleted). Called again in the same round, after a lost answer, it claims no others.
#variable_conflict use_column
declare
  v_found uuid[];
  v_claimed uuid[];
begin
  perform public.require_lease(p_job, p_fence);
  select array_agg(c.discovery_id) into v_claimed from public.crawl_claims c
    where c.job_id = p_job and c.fence = p_fence and c.claim_round = p_round;
  if v_claimed is null then
    v_found := array(
      select d.id from public.discoveries d
        where d.id = any (p_ids) and d.deleted_at is null
          and (p_older_than_days is null or (d.crawl_status = 'completed'
            and coalesce(d.last_crawled_at, d.created_at) < now() - make_interval(days => p_older_than_days)))
        for no key update of d skip locked);
    with claimed as (
      insert into public.crawl_claims as c (discovery_id, job_id, fence, claim_round, was, crawled_before)
        select d.id, p_job, p_fence, p_round,
            -- Somebody else has it crawled: it goes back to what it must have been.
            case when d.crawl_status <> 'crawling' then d.crawl_status
                 when d.last_crawled_at is null then 'pending'
                 when d.crawl_error is null then 'completed'
                 else 'failed' end,
            d.last_crawled_at
          from public.discoveries d where d.id = any (v_found)
      on conflict (discovery_id) do update
        set job_id = excluded.job_id, fence = excluded.fence, claimed_at = now(), lost_at = null,
            claim_round = excluded.claim_round, judged_round = null, attempts = 0,
            was = excluded.was, crawled_before = excluded.crawled_before, given_up_at = null
        where not public.crawl_claim_lives(c.job_id, c.fence)
      returning c.discovery_id)
    select array_agg(claimed.discovery_id) into v_claimed from claimed;
  end if;
  return query
    select asked.id, d.url,
        case when asked.id = any (v_claimed) then 'claimed'
             when d.id is null or d.deleted_at is not null then 'gone'
             else 'held' end
      from unnest(p_ids) with ordinality asked (id, place)
        left join public.discoveries d on d.id = asked.id
      order by asked.place;
end $$;
comment on function public.claim_recrawl_batch is 'Claims named discoveries that are to be crawled again (skip locked)';

create or replace function public.settle_crawl_batch(
  p_job uuid, p_fence bigint, p_ids uuid[], p_answered boolean, p_wait_seconds integer, p_max_attempts integer,
  p_round integer, p_reason text default null
) returns table (id uuid, outcome text, error text)
language plpgsql security definer set search_path = '' as $$
-- What became of rows this job has claimed, read off the rows themselves. Outcomes:
--   completed, failed  the crawler has written the row: final
--   retry              the row was not settled; one attempt is counted and this job may ask again
--   exhausted          not settled after the last attempt. A row that waited is now failed, for p_reason where one is
--                      given; one that is crawled again stays what it was
--   in_doubt           the answer was lost less than p_wait_seconds ago: ask again later
--   released           open, and in nobody's hands or in another's
-- A re-crawl is settled when last_crawled_at is another than at the claim: the two are by one clock, the crawler's.
-- Called again in the same round, after a lost answer, it says the same again and counts no second attempt.
#variable_conflict use_column
declare
  v_given_up constant text := coalesce(p_reason, format('not settled by the crawler in %s attempts', p_max_attempts));
begin
  perform public.require_lease(p_job, p_fence);
  return query
    with held as (
      select c.* from public.crawl_claims c
        where c.job_id = p_job and c.fence = p_fence and c.discovery_id = any (p_ids) for update),
    judged as (
      select asked.discovery_id, h.was, h.discovery_id is not null as is_held,
        case
          when d.id is null then 'failed'
          when h.was is not null and d.last_crawled_at is distinct from h.crawled_before then
            case d.crawl_status when 'failed' then 'failed' else 'completed' end
          -- An earlier call of this round has given it up.
          when h.discovery_id is null and exists (select from public.crawl_claims g
                 where g.discovery_id = asked.discovery_id and g.given_up_at is not null) then 'exhausted'
          when h.was is null and d.crawl_status = 'failed' and d.crawl_error = v_given_up then 'exhausted'
          when h.was is null and d.crawl_status in ('completed', 'failed') then d.crawl_status
          when h.discovery_id is null then 'released'
          when h.judged_round = p_round then 'counted'
          when not p_answered and coalesce(h.lost_at, now()) > now() - make_interval(secs => p_wait_seconds)
            then 'in_doubt'
          when h.attempts + 1 >= p_max_attempts then 'exhausted'
          else 'retry'
        end as outcome,
        case when d.id is null then 'the discovery was deleted' else d.crawl_error end as error
      from unnest(p_ids) asked (discovery_id)
        left join held h using (discovery_id)
        left join public.discoveries d on d.id = asked.discovery_id),
    settled as (
      delete from public.crawl_claims c using held h join judged s using (discovery_id)
        where c.discovery_id = h.discovery_id
          and (s.outcome in ('completed', 'failed') or (s.outcome = 'exhausted' and s.was is null))),
    kept as (
      update public.crawl_claims c set
          attempts = c.attempts + case when s.outcome = 'retry' then 1 else 0 end,
          judged_round = case when s.outcome = 'retry' then p_round else c.judged_round end,
          lost_at = case when s.outcome = 'in_doubt' then coalesce(c.lost_at, now()) end
        from judged s where c.discovery_id = s.discovery_id and s.outcome in ('in_doubt', 'retry')),
    let_go as (
      update public.crawl_claims c set job_id = null, fence = null, lost_at = null, given_up_at = now()
        from judged s
        where c.discovery_id = s.discovery_id and s.is_held and s.outcome = 'exhausted' and s.was is not null),
    put_back as (
      update public.discoveries d set crawl_status = coalesce(s.was, 'pending') from judged s
        where d.id = s.discovery_id and d.crawl_status = 'crawling'
          and (s.outcome = 'retry' or (s.outcome = 'exhausted' and s.was is not null))),
    given_up as (
      update public.discoveries d set crawl_status = 'failed', crawl_error = v_given_up from judged s
        where d.id = s.discovery_id and s.outcome = 'exhausted' and s.is_held and s.was is null
          and d.crawl_status in ('pending', 'crawling'))
    select s.discovery_id, case when s.outcome = 'counted' then 'retry' else s.outcome end,
      case when s.outcome = 'exhausted' then v_given_up else s.error end
    from judged s;
end $$;

comment on function public.guard_scheduled_jobs is 'Keeps an ended job ended, and moves updated_at with every change';
comment on function public.note_job_event is 'Writes each change of a job to job_events';

revoke execute on function public.find_stale, public.claim_recrawl_batch from public, anon, authenticated;
grant execute on function public.find_stale, public.claim_recrawl_batch to service_role;

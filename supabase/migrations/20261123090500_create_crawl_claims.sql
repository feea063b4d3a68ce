-- Which run is crawling which discovery, and how often it was tried. Before the deploy.
-- Claims are ours: the site's tables get no column, index or trigger from us.
set lock_timeout = '5s';

create table public.crawl_claims (
  discovery_id uuid primary key,
  job_id uuid,
  fence bigint,
  claimed_at timestamptz not null default now(),
  lost_at timestamptz,
  attempts integer not null default 0,
  claim_round integer,
  judged_round integer
);
create index crawl_claims_job on public.crawl_claims (job_id);
comment on table public.crawl_claims is 'A discovery in the hands of a crawl job; it holds while that job''s lease lives';
comment on column public.crawl_claims.lost_at is 'When the crawler''s answer about it was lost: the row tells what was done';
comment on column public.crawl_claims.claim_round is 'Number of the call that claimed it: the same call again gets the same rows';
comment on column public.crawl_claims.judged_round is 'Number of the call that last counted an attempt: the same call again counts none';
comment on column public.crawl_claims.attempts is 'Times the crawler was asked and the row was still not settled';

alter table public.crawl_claims enable row level security;
revoke all on public.crawl_claims from anon, authenticated;
grant select, insert, update, delete on public.crawl_claims to service_role;

create function public.crawl_claim_lives(p_job_id uuid, p_fence bigint) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from public.scheduled_jobs j
    where j.id = p_job_id and j.fence = p_fence and j.status = 'running'
      and j.locked_at >= now() - public.lease_length())
$$;
comment on function public.crawl_claim_lives is 'True while the claiming job''s lease lives';

create function public.open_crawl(p_job uuid, p_fence bigint, p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
-- Puts back what dead runs left behind, then returns how many discoveries wait, counted up to p_limit.
begin
  perform public.require_lease(p_job, p_fence);
  -- Rows in the hands of a dead run: asking the crawler again is harmless, so nothing is waited for.
  update public.discoveries d set crawl_status = 'pending'
    from public.crawl_claims c
    where c.discovery_id = d.id and d.crawl_status = 'crawling'
      and not public.crawl_claim_lives(c.job_id, c.fence);
  delete from public.crawl_claims c
    where not public.crawl_claim_lives(c.job_id, c.fence)
      and (c.attempts = 0 or not exists (select from public.discoveries d
             where d.id = c.discovery_id and d.crawl_status in ('pending', 'crawling')));
  return (select count(*) from (
    select from public.discoveries d
      where d.crawl_status = 'pending' and d.deleted_at is null
        and not exists (select from public.crawl_claims c
              where c.discovery_id = d.id and public.crawl_claim_lives(c.job_id, c.fence))
      limit p_limit) waiting);
end $$;
comment on function public.open_crawl is 'Frees what dead crawl runs left and counts the discoveries that wait';

create function public.rescue_crawling(p_job uuid, p_fence bigint, p_from_block bigint, p_blocks integer) returns bigint
language plpgsql security definer set search_path = '' as $$
-- Puts back rows left crawling for 10 minutes that nobody claims: the crawler was called by somebody else, or lost them.
-- No index of the site's serves this, so a stretch of the table is read at a time; returns the block to go on from,
-- null at the end.
declare
  v_end bigint := pg_relation_size('public.discoveries') / current_setting('block_size')::bigint;
begin
  perform public.require_lease(p_job, p_fence);
  update public.discoveries d set crawl_status = 'pending'
    where d.ctid >= format('(%s,0)', p_from_block)::tid and d.ctid < format('(%s,0)', p_from_block + p_blocks)::tid
      and d.crawl_status = 'crawling'
      and greatest(d.updated_at, d.last_crawled_at, d.created_at) < now() - interval '10 minutes'
      and not exists (select from public.crawl_claims c
            where c.discovery_id = d.id and public.crawl_claim_lives(c.job_id, c.fence));
  return case when p_from_block + p_blocks < v_end then p_from_block + p_blocks end;
end $$;
comment on function public.rescue_crawling is 'Returns discoveries left crawling to pending, a stretch of the table at a time';

create function public.claim_crawl_batch(p_job uuid, p_fence bigint, p_limit integer, p_round integer)
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
            claim_round = excluded.claim_round, judged_round = null
        where not public.crawl_claim_lives(c.job_id, c.fence)
      returning c.discovery_id)
    select array_agg(claimed.discovery_id) into v_claimed from claimed;
  end loop;
  return query select d.id, d.url from public.discoveries d where d.id = any (v_claimed) order by d.created_at;
end $$;
comment on function public.claim_crawl_batch is 'Claims pending discoveries for a crawl job (skip locked)';

create function public.settle_crawl_batch(
  p_job uuid, p_fence bigint, p_ids uuid[], p_answered boolean, p_wait_seconds integer, p_max_attempts integer,
  p_round integer, p_reason text default null
) returns table (id uuid, outcome text, error text)
language plpgsql security definer set search_path = '' as $$
-- What became of rows this job has claimed, read off the rows themselves. Outcomes:
--   completed, failed  the crawler has written the row: final
--   retry              the row was not settled; one attempt is counted and this job may ask again
--   exhausted          not settled after the last attempt: the row is now failed, for p_reason where one is given
--   in_doubt           the answer was lost less than p_wait_seconds ago: ask again later
--   released           open, and in nobody's hands or in another's
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
      select asked.discovery_id,
        case
          when d.id is null then 'failed'
          when d.crawl_status = 'failed' and d.crawl_error = v_given_up then 'exhausted'
          when d.crawl_status in ('completed', 'failed') then d.crawl_status
          when h.discovery_id is null then 'released'
          when h.judged_round = p_round then 'counted'
          when not p_answered and coalesce(h.lost_at, now()) > now() - make_interval(secs => p_wait_seconds) then 'in_doubt'
          when h.attempts + 1 >= p_max_attempts then 'exhausted'
          else 'retry'
        end as outcome,
        case when d.id is null then 'the discovery was deleted' else d.crawl_error end as error
      from unnest(p_ids) asked (discovery_id)
        left join held h using (discovery_id)
        left join public.discoveries d on d.id = asked.discovery_id),
    settled as (
      delete from public.crawl_claims c using held h join judged s using (discovery_id)
        where c.discovery_id = h.discovery_id and s.outcome in ('completed', 'failed', 'exhausted')),
    kept as (
      update public.crawl_claims c set
          attempts = c.attempts + case when s.outcome = 'retry' then 1 else 0 end,
          judged_round = case when s.outcome = 'retry' then p_round else c.judged_round end,
          lost_at = case when s.outcome = 'in_doubt' then coalesce(c.lost_at, now()) end
        from judged s where c.discovery_id = s.discovery_id and s.outcome in ('in_doubt', 'retry')),
    put_back as (
      update public.discoveries d set crawl_status = 'pending' from judged s
        where d.id = s.discovery_id and s.outcome = 'retry' and d.crawl_status = 'crawling'),
    given_up as (
      update public.discoveries d set crawl_status = 'failed', crawl_error = v_given_up from judged s
        where d.id = s.discovery_id and s.outcome = 'exhausted' and d.crawl_status in ('pending', 'crawling'))
    select s.discovery_id, case when s.outcome = 'counted' then 'retry' else s.outcome end,
      case when s.outcome = 'exhausted' then v_given_up else s.error end
    from judged s;
end $$;
comment on function public.settle_crawl_batch is 'Reads off the rows what became of claimed discoveries and counts attempts';

create function public.release_crawl_batch(p_job uuid, p_fence bigint, p_ids uuid[]) returns integer
language plpgsql security definer set search_path = '' as $$
-- Gives back claims without counting an attempt: the crawler was never asked.
declare
  v_count integer;
begin
  perform public.require_lease(p_job, p_fence);
  with freed as (
    update public.crawl_claims set job_id = null, fence = null, lost_at = null
      where job_id = p_job and fence = p_fence and discovery_id = any (p_ids) returning 1)
  select count(*) into v_count from freed;
  return v_count;
end $$;
comment on function public.release_crawl_batch is 'Frees claimed discoveries that were never sent to the crawler';

revoke execute on function public.crawl_claim_lives, public.open_crawl, public.rescue_crawling, public.claim_crawl_batch,
  public.settle_crawl_batch, public.release_crawl_batch from public, anon, authenticated;
grant execute on function public.crawl_claim_lives, public.open_crawl, public.rescue_crawling, public.claim_crawl_batch,
  public.settle_crawl_batch, public.release_crawl_batch to service_role;

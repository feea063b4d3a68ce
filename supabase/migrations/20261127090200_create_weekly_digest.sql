-- The weekly digest: who gets it, what there is to choose from, and what each reader has seen. Before the deploy.
set lock_timeout = '5s';

create table public.digest_candidates (
  period text not null,
  topic text not null,
  rank integer not null,
  discovery_id uuid not null,
  item jsonb not null,
  fetched_at timestamptz not null default now(),
  primary key (period, topic, rank)
);
create index digest_candidates_discovery on public.digest_candidates (period, discovery_id);
comment on table public.digest_candidates is 'What a week''s digests are chosen from, as the discovery service told it: fetched once a run';
comment on column public.digest_candidates.period is 'ISO week of the digest';
comment on column public.digest_candidates.topic is 'The topic it was fetched for; empty: what was trending';
comment on column public.digest_candidates.rank is 'Its place within the topic, from 0: the best first';
comment on column public.digest_candidates.item is 'What the mail''s template shows of it';

alter table public.digest_candidates enable row level security;
revoke all on public.digest_candidates from anon, authenticated;
grant select, insert, update, delete on public.digest_candidates to service_role;

create function public.plan_weekly_digest(
  p_job uuid, p_fence bigint, p_period text, p_after uuid, p_limit integer, p_active_since timestamptz,
  p_email_type text, p_preference text, p_dry_run boolean default false
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Plans the week's mail for the next p_limit users by id after p_after (null: from the first): those with an address who
-- have chosen it (p_preference: the column of email_preferences; no row = never chose), are not unsubscribed from
-- everything and, where p_active_since is given, have signed in since then.
-- Returns {"next": id to go on after | null, "considered", "planned", "already", "noAddress", "deleted", "inactive",
-- "optedOut", "unsubscribed"}: every user considered is counted under exactly one of the others. Called again after a
-- lost answer it plans nobody twice and counts what it has planned as `already`.
-- A dry run inserts nothing, counts the same, and returns in "userIds" who would be planned.
declare
  v_answer jsonb;
begin
  perform public.require_lease(p_job, p_fence);
  perform public.check_preference(p_preference);
  execute format($query$
    with page as (
      select u.id, u.email, u.deleted_at, u.last_sign_in_at from public.users u
        where u.id > coalesce($1, '00000000-0000-0000-0000-000000000000') order by u.id limit $2),
    judged as (
      select page.id, 'weekly_digest:' || $3 || ':' || page.id as dedupe_key,
        case when page.deleted_at is not null then 'deleted'
             when coalesce(btrim(page.email), '') = '' then 'noAddress'
             when p.unsubscribed_all then 'unsubscribed'
             when p.%I is not true then 'optedOut'
             when $4 is not null and (page.last_sign_in_at is null or page.last_sign_in_at < $4) then 'inactive'
             when exists (select from public.email_deliveries e
                    where e.dedupe_key = 'weekly_digest:' || $3 || ':' || page.id) then 'already'
             else 'due' end as outcome
        from page left join public.email_preferences p on p.user_id = page.id),
    planned as (
      insert into public.email_deliveries (dedupe_key, job_type, period, user_id, email_type)
        select j.dedupe_key, 'weekly_digest', $3, j.id, $5 from judged j where j.outcome = 'due' and not $6 order by j.id
      on conflict (dedupe_key) do nothing
      returning user_id)
    select jsonb_build_object(
        'next', case when count(*) = $2 then (select page.id from page order by page.id desc limit 1) end,
        'considered', count(*),
        'planned', v.planned,
        -- What another run has planned since this statement began is not ours.
        'already', count(*) filter (where outcome = 'already') + count(*) filter (where outcome = 'due') - v.planned,
        'noAddress', count(*) filter (where outcome = 'noAddress'),
        'deleted', count(*) filter (where outcome = 'deleted'),
        'inactive', count(*) filter (where outcome = 'inactive'),
        'optedOut', count(*) filter (where outcome = 'optedOut'),
        'unsubscribed', count(*) filter (where outcome = 'unsubscribed'))
      || case when $6 then jsonb_build_object('userIds',
           coalesce(jsonb_agg(judged.id order by judged.id) filter (where outcome = 'due'), '[]')) else '{}' end
      from judged cross join (select case when $6 then (select count(*) from judged where outcome = 'due')
                                          else (select count(*) from planned) end as planned) v
      group by v.planned
  $query$, p_preference) into v_answer
    using p_after, p_limit, p_period, p_active_since, p_email_type, p_dry_run;
  return coalesce(v_answer, '{"next": null, "considered": 0, "planned": 0, "already": 0, "noAddress": 0, "deleted": 0,
    "inactive": 0, "optedOut": 0, "unsubscribed": 0}'::jsonb || case when p_dry_run then '{"userIds": []}' else '{}' end::jsonb);
end $$;
comment on function public.plan_weekly_digest is 'Plans a week''s digest for a page of users, or tells whom it would plan';

create function public.digest_topics(p_after uuid, p_limit integer, p_top integer) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
-- What the next p_limit readers by user id after p_after (null: from the first) prefer: {"next": id to go on after | null,
-- "topics": {topic: readers}}, the p_top with the most readers. Topics are what people and programs have stored: what is
-- blank or longer than a topic ever is does not count.
declare
  v_answer jsonb;
begin
  with page as (
    select p.user_id, p.preferred_topics from public.user_preferences p
      where p.user_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000') order by p.user_id limit p_limit),
  counted as (
    select t.topic, count(*) as readers
      from page cross join lateral (select distinct named.topic from unnest(page.preferred_topics) named (topic)) t
      where btrim(t.topic) <> '' and length(t.topic) <= 100
      group by t.topic order by count(*) desc, t.topic limit p_top)
  select jsonb_build_object(
      'next', case when (select count(*) from page) = p_limit
                   then (select page.user_id from page order by page.user_id desc limit 1) end,
      'topics', (select coalesce(jsonb_object_agg(counted.topic, counted.readers), '{}') from counted))
    into v_answer;
  return v_answer;
end $$;
comment on function public.digest_topics is 'Which topics a page of readers prefers, and how many of them each';

create function public.store_digest_candidates(
  p_job uuid, p_fence bigint, p_period text, p_candidates jsonb, p_max_age_seconds integer
) returns integer
language plpgsql security definer set search_path = '' as $$
-- Keeps a week's candidates, {topic: [item, ...]} with the best first and '' for what is trending, in place of older ones;
-- returns how many are kept. What was stored less than p_max_age_seconds ago stays: all who send a week's digests then
-- choose from the same, and calling again after a lost answer changes nothing. Other weeks' candidates go after 2 days.
declare
  v_count integer;
begin
  perform public.require_lease(p_job, p_fence);
  perform pg_advisory_xact_lock(hashtextextended('digest_candidates ' || p_period, 0));
  delete from public.digest_candidates where period <> p_period and fetched_at < now() - interval '2 days';
  if not exists (select from public.digest_candidates c
       where c.period = p_period and c.fetched_at > now() - make_interval(secs => p_max_age_seconds)) then
    delete from public.digest_candidates where period = p_period;
    insert into public.digest_candidates (period, topic, rank, discovery_id, item)
      select p_period, t.topic, i.place - 1, (i.item ->> 'id')::uuid, i.item
        from jsonb_each(p_candidates) t (topic, items)
          cross join lateral jsonb_array_elements(t.items) with ordinality i (item, place);
    -- The table has just been filled: without figures the first readers would be looked up by a bad plan.
    analyze public.digest_candidates;
  end if;
  select count(*) into v_count from public.digest_candidates c where c.period = p_period;
  return v_count;
end $$;
comment on function public.store_digest_candidates is 'Keeps what a week''s digests are chosen from';

create function public.digest_candidates_of(p_period text, p_max_age_seconds integer default null) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
-- A week's candidates as they were stored, {topic: [item, ...]}; null where there are none, or where p_max_age_seconds is
-- given and they are older.
declare
  v_answer jsonb;
begin
  select jsonb_object_agg(t.topic, t.items) into v_answer from (
    select c.topic, jsonb_agg(c.item order by c.rank) as items from public.digest_candidates c
      where c.period = p_period
        and (p_max_age_seconds is null or c.fetched_at > now() - make_interval(secs => p_max_age_seconds))
      group by c.topic) t;
  return v_answer;
end $$;
comment on function public.digest_candidates_of is 'What a week''s digests are chosen from';

create function public.digest_readers(
  p_period text, p_user_ids uuid[], p_candidates uuid[] default null, p_after bigint default null, p_ahead integer default 0
) returns jsonb
language plpgsql stable security definer set search_path = '' as $$
-- What the choice for these users needs: [{"userId", "topics", "blockedDomains", "seen"}]. `seen` is what each has had to
-- do with in any way, of the period's stored candidates or, where given, of p_candidates (a dry run stores none).
-- It is read off the user's own stretch of the index: its cost grows with what these users did, not with the site.
-- With p_ahead also that of as many users whose mails of the period come next in the ledger after p_after: one call for
-- several claims.
declare
  v_users uuid[] := p_user_ids;
  v_answer jsonb;
begin
  if p_ahead > 0 then
    v_users := v_users || array(
      select e.user_id from public.email_deliveries e
        where e.job_type = 'weekly_digest' and e.period = p_period and e.status = 'planned' and e.id > p_after
        order by e.id limit p_ahead);
  end if;
  with candidates as materialized (
    select c.discovery_id from public.digest_candidates c where c.period = p_period and p_candidates is null
    union
    select given.id from unnest(p_candidates) given (id)),
  seen as (
    select i.user_id, to_jsonb(array_agg(distinct i.discovery_id)) as ids
      from unnest(v_users) reader (id)
        join public.user_interactions i on i.user_id = reader.id
        join candidates c on c.discovery_id = i.discovery_id
      group by i.user_id)
  select jsonb_agg(jsonb_build_object('userId', asked.id, 'topics', coalesce(p.preferred_topics, '{}'),
      'blockedDomains', coalesce(p.blocked_domains, '{}'), 'seen', coalesce(seen.ids, '[]'))) into v_answer
    from unnest(v_users) asked (id)
      left join public.user_preferences p on p.user_id = asked.id
      left join seen on seen.user_id = asked.id;
  return coalesce(v_answer, '[]');
end $$;
comment on function public.digest_readers is 'Topics, blocked domains and seen candidates of some users';

revoke execute on function public.plan_weekly_digest, public.digest_topics, public.store_digest_candidates,
  public.digest_candidates_of, public.digest_readers from public, anon, authenticated;
grant execute on function public.plan_weekly_digest, public.digest_topics, public.store_digest_candidates,
  public.digest_candidates_of, public.digest_readers to service_role;

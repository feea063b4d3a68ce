-- The mail ledger: one row a mail and a reason to send it, so that a kill, a retry or a second run never mails twice.
-- Before the deploy.
set lock_timeout = '5s';

create table public.email_deliveries (
  id bigint generated always as identity primary key,
  -- Bytewise order, so that all mails of a job type and period are one stretch of the index.
  dedupe_key text collate "C" not null unique,
  job_type text not null,
  period text not null,
  user_id uuid not null,
  email_type text not null,
  status text not null default 'planned'
    check (status in ('planned', 'sending', 'sent', 'failed', 'skipped', 'unknown')),
  reason text,
  data jsonb,
  job_id uuid,
  fence bigint,
  claim_round integer,
  attempts smallint not null default 0,
  first_claimed_at timestamptz,
  claimed_at timestamptz,
  lost_at timestamptz,
  settled_at timestamptz,
  email_id uuid,
  delivered_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index email_deliveries_planned on public.email_deliveries (job_type, period, id) where status = 'planned';
-- While a user has a mail of a type under way there is no second one: a row in email_queue is then nobody else's.
create unique index email_deliveries_sending on public.email_deliveries (user_id, email_type) where status = 'sending';
create index email_deliveries_job on public.email_deliveries (job_id);
create unique index email_deliveries_email on public.email_deliveries (email_id) where email_id is not null;
create index email_deliveries_undelivered on public.email_deliveries (job_type, id)
  where status = 'sent' and delivered_at is null and email_id is not null;
create index email_deliveries_created_at on public.email_deliveries using brin (created_at);

comment on table public.email_deliveries is 'Every mail the scheduler ever planned, and what became of it; kept 400 days';
comment on column public.email_deliveries.dedupe_key is 'Job type, period or event, and user: what is never mailed twice';
comment on column public.email_deliveries.period is 'ISO week of a digest; ''event'' for mails about something that happened';
comment on column public.email_deliveries.status is 'planned: to be sent; sending: with the mail service since claimed_at; sent: queued there; failed, skipped: not mailed, and why; unknown: nobody can tell, never sent again';
comment on column public.email_deliveries.data is 'What the mail is about, as it was planned; emptied once it is settled';
comment on column public.email_deliveries.job_id is 'The job that claimed it last';
comment on column public.email_deliveries.claim_round is 'Number of the call that claimed it: the same call again gets the same rows';
comment on column public.email_deliveries.attempts is 'Times it was handed to the mail service';
comment on column public.email_deliveries.lost_at is 'When the mail service''s answer about it was lost: email_queue tells';
comment on column public.email_deliveries.email_id is 'Its row in email_queue';
comment on column public.email_deliveries.delivered_at is 'When the mail service had sent it';

create table public.mail_jobs (
  job_type text primary key,
  first_run_at timestamptz not null default now()
);
comment on table public.mail_jobs is 'Since when a job type mails about events: what is older than 7 days by then is never mailed';

do $$
declare
  v_table text;
begin
  foreach v_table in array array['email_deliveries', 'mail_jobs'] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on public.%I from anon, authenticated', v_table);
    execute format('grant select, insert, update, delete on public.%I to service_role', v_table);
  end loop;
end $$;

create function public.mail_refusal(
  p_user public.users, p_preferences public.email_preferences, p_preference text, p_opt_in boolean
) returns text
language sql stable set search_path = '' as $$
-- Why a user is not to be mailed; null when nothing is in the way. p_preference is the column of email_preferences that
-- decides: with p_opt_in it must be true (no row = never chose), otherwise it must not be false.
  select case
    when p_user.id is null then 'the user does not exist'
    when p_user.deleted_at is not null then 'the user is deleted'
    when coalesce(btrim(p_user.email), '') = '' then 'the user has no address'
    when p_preferences.unsubscribed_all then 'unsubscribed from all mail'
    when p_opt_in and (to_jsonb(p_preferences) ->> p_preference) is distinct from 'true' then 'not opted in'
    when not p_opt_in and (to_jsonb(p_preferences) ->> p_preference) = 'false' then 'opted out'
  end
$$;
comment on function public.mail_refusal is 'Why a user is not to be mailed; null when nothing is in the way';

create function public.first_name(p_full_name text) returns text
language sql immutable set search_path = '' as $$
  select nullif(split_part(btrim(regexp_replace(p_full_name, '\s+', ' ', 'g')), ' ', 1), '')
$$;
comment on function public.first_name is 'The first word of a full name; null without one';

create function public.check_preference(p_preference text) returns void
language plpgsql stable set search_path = '' as $$
begin
  if not exists (select from information_schema.columns
       where table_schema = 'public' and table_name = 'email_preferences' and column_name = p_preference
         and data_type = 'boolean') then
    raise exception 'email_preferences has no boolean column %', p_preference using errcode = '22023';
  end if;
end $$;
comment on function public.check_preference is 'Raises 22023 where a setting names a column of email_preferences that is none';

create function public.record_deliveries(p_job uuid, p_fence bigint, p_outcomes jsonb) returns integer
language plpgsql security definer set search_path = '' as $$
-- Writes what became of mails this (job, fence) has claimed: [{"id", "outcome", "emailId"?, "reason"?}]. Outcomes:
--   sent     the mail service has queued it as emailId
--   failed   it refused this mail; skipped: there is nothing to mail
--   unsent   it was never handed over: planned again, and no attempt is counted
--   lost     it may have been queued or not: it stays `sending`, and settle_deliveries finds out
-- A row that is not in this fence's hands any more, or recorded already, is passed over. Returns how many were written.
declare
  v_count integer;
begin
  perform public.require_lease(p_job, p_fence);
  update public.email_deliveries e set
      status = case o.outcome when 'unsent' then 'planned' when 'lost' then 'sending' else o.outcome end,
      reason = o.reason,
      email_id = case when o.outcome = 'sent' then o.email_id end,
      attempts = e.attempts - case when o.outcome in ('unsent', 'skipped') then 1 else 0 end,
      lost_at = case when o.outcome = 'lost' then clock_timestamp() end,
      settled_at = case when o.outcome in ('sent', 'failed', 'skipped') then clock_timestamp() end,
      data = case when o.outcome in ('sent', 'failed', 'skipped') then null else e.data end,
      updated_at = clock_timestamp()
    from jsonb_to_recordset(p_outcomes) as given (id bigint, outcome text, "emailId" uuid, reason text)
      cross join lateral (select given.outcome, given."emailId" as email_id, left(given.reason, 300) as reason) o
    where e.id = given.id and e.status = 'sending' and e.job_id = p_job and e.fence = p_fence and e.lost_at is null
      and o.outcome in ('sent', 'failed', 'skipped', 'unsent', 'lost');
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function public.record_deliveries is 'Writes what became of mails a job has claimed';

create function public.exchange_deliveries(
  p_job uuid, p_fence bigint, p_job_type text, p_period text, p_outcomes jsonb, p_after bigint, p_limit integer,
  p_round integer, p_preferences jsonb
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Records outcomes and claims the next mails, in one call and one transaction, so that no more are under way than the
-- caller has hands for. Planned mails of the job type and period with an id over p_after, at most
-- p_limit; consent and deletion are checked again here, right before the call. p_preferences is, for each e-mail type,
-- [column of email_preferences, whether it must be true].
-- Returns {"claimed": [{"id", "dedupeKey", "userId", "emailType", "recipient", "firstName", "data"}], "looked_at": how
-- many planned mails were found, "last": the highest id of them, "refused": how many of those nobody may be sent}.
-- Called again in the same round, after a lost answer, it returns the mails that round has claimed.
declare
  v_found bigint[];
  v_claimed jsonb;
  v_refused integer := 0;
  v_tries integer := 0;
begin
  perform public.record_deliveries(p_job, p_fence, p_outcomes);
  if p_limit <= 0 then
    return jsonb_build_object('claimed', '[]'::jsonb, 'looked_at', 0, 'last', p_after, 'refused', 0);
  end if;
  loop
    v_found := null;
    select array_agg(e.id) into v_found from public.email_deliveries e
      where e.job_id = p_job and e.fence = p_fence and e.claim_round = p_round and e.status = 'sending'
        and e.lost_at is null;
    exit when v_found is not null;
    begin
      v_found := array(
        select e.id from public.email_deliveries e
          where e.job_type = p_job_type and e.period = p_period and e.status = 'planned'
            and e.id > p_after
            -- A mail of the same type to the same user has to be settled first.
            and not exists (select from public.email_deliveries s
                  where s.user_id = e.user_id and s.email_type = e.email_type and s.status = 'sending')
          order by e.id
          limit p_limit
          for update of e skip locked);
      with judged as (
        select e.id, public.mail_refusal(u, p, p_preferences -> e.email_type ->> 0,
                                         (p_preferences -> e.email_type ->> 1)::boolean) as refusal,
               row_number() over (partition by e.user_id, e.email_type order by e.id) as place
          from public.email_deliveries e
            left join public.users u on u.id = e.user_id
            left join public.email_preferences p on p.user_id = e.user_id
          where e.id = any (v_found)),
      written as (
        update public.email_deliveries e set
            status = case when j.refusal is null then 'sending' else 'skipped' end,
            reason = j.refusal, job_id = p_job, fence = p_fence, lost_at = null,
            claim_round = case when j.refusal is null then p_round end,
            attempts = e.attempts + case when j.refusal is null then 1 else 0 end,
            claimed_at = case when j.refusal is null then clock_timestamp() end,
            first_claimed_at = case when j.refusal is null then coalesce(e.first_claimed_at, clock_timestamp())
                                    else e.first_claimed_at end,
            settled_at = case when j.refusal is not null then clock_timestamp() end,
            data = case when j.refusal is null then e.data end,
            updated_at = clock_timestamp()
          from judged j where e.id = j.id and (j.refusal is not null or j.place = 1)
          returning e.status)
      select count(*) filter (where status = 'skipped') into v_refused from written;
      exit;
    exception when unique_violation then
      -- Another run has just claimed a mail of the same type to one of these users.
      v_tries := v_tries + 1;
      if v_tries > 5 then raise; end if;
    end;
  end loop;
  select coalesce(jsonb_agg(jsonb_build_object(
      'id', e.id, 'dedupeKey', e.dedupe_key, 'userId', e.user_id, 'emailType', e.email_type,
      'recipient', btrim(u.email), 'firstName', public.first_name(u.full_name), 'data', coalesce(e.data, '{}'))
      order by e.id), '[]')
    into v_claimed
    from public.email_deliveries e join public.users u on u.id = e.user_id
    where e.id = any (v_found) and e.status = 'sending' and e.job_id = p_job and e.fence = p_fence;
  return jsonb_build_object('claimed', v_claimed, 'looked_at', coalesce(cardinality(v_found), 0), 'refused', v_refused,
    'last', (select coalesce(max(f.id), p_after) from unnest(v_found) f (id)));
end $$;
comment on function public.exchange_deliveries is 'Records outcomes of mails and claims the next ones (skip locked)';

create function public.settle_deliveries(
  p_job uuid, p_fence bigint, p_job_type text, p_timeout_seconds double precision, p_idempotent boolean,
  p_readable boolean, p_max_attempts integer, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Settles mails in doubt: handed over, and no answer came or whoever had them died. Not those in the hands of another
-- living job; of the caller's own it must have none under way. Where the mail service knows its keys again (p_idempotent) they are planned again at once, to be sent with
-- the same key. Else no sooner than twice the call's time-out after the claim: a row in email_queue for that user and
-- type since the first claim means sent; none means planned again, after p_max_attempts failed; and where email_queue
-- cannot be read the mail is unknown, and never sent again.
-- Returns {"sent", "planned", "failed", "unknown": how many were settled so; "waiting": how many are too young}.
declare
  v_due bigint[];
  v_waiting integer;
  v_queued jsonb := '{}';
  v_readable boolean := p_readable;
  v_counts jsonb;
begin
  perform public.require_lease(p_job, p_fence);
  select array_agg(d.id) filter (where d.due), count(*) filter (where not d.due) into v_due, v_waiting from (
    select e.id, p_idempotent or e.claimed_at <= now() - make_interval(secs => 2 * p_timeout_seconds) as due
      from public.email_deliveries e
      where e.job_type = p_job_type and e.status = 'sending'
        and ((e.job_id = p_job and e.fence = p_fence) or not public.crawl_claim_lives(e.job_id, e.fence))
      order by e.claimed_at limit p_limit
      for update skip locked) d;
  if v_due is null then
    return jsonb_build_object('sent', 0, 'planned', 0, 'failed', 0, 'unknown', 0, 'waiting', coalesce(v_waiting, 0));
  end if;
  if v_readable then
    begin
      -- Not planned until it runs: the table may be another database's, and then the answer is that nobody can tell.
      execute $query$
        select coalesce(jsonb_object_agg(found.id, found.email_id), '{}') from (
          select distinct on (e.id) e.id, q.id as email_id
            from public.email_deliveries e join public.email_queue q
              on q.user_id = e.user_id and q.email_type = e.email_type and q.created_at >= e.first_claimed_at
            where e.id = any ($1)
              and not exists (select from public.email_deliveries taken where taken.email_id = q.id)
            order by e.id, q.created_at) found
      $query$ into v_queued using v_due;
    exception when undefined_table or undefined_column or insufficient_privilege then
      v_readable := false;
    end;
  end if;
  with judged as (
    select e.id, (v_queued ->> e.id::text)::uuid as email_id,
        -- That its job died is nothing the mail service has to do with: no attempt.
        e.lost_at is null as died,
        case when v_queued ? e.id::text then 'sent'
             when not v_readable and not p_idempotent then 'unknown'
             when e.lost_at is not null and e.attempts >= p_max_attempts then 'failed'
             else 'planned' end as outcome
      from public.email_deliveries e where e.id = any (v_due)),
  written as (
    update public.email_deliveries e set
        status = j.outcome, email_id = j.email_id, lost_at = null,
        attempts = e.attempts - case when j.died and j.outcome = 'planned' then 1 else 0 end,
        reason = case j.outcome
          when 'unknown' then 'no answer came, and email_queue cannot be read'
          when 'failed' then format('no answer in %s attempts', e.attempts) end,
        settled_at = case when j.outcome <> 'planned' then clock_timestamp() end,
        data = case when j.outcome = 'planned' then e.data end,
        updated_at = clock_timestamp()
      from judged j where e.id = j.id
      returning e.status)
  select jsonb_build_object(
      'sent', count(*) filter (where status = 'sent'), 'planned', count(*) filter (where status = 'planned'),
      'failed', count(*) filter (where status = 'failed'), 'unknown', count(*) filter (where status = 'unknown'),
      'waiting', v_waiting) into v_counts
    from written;
  return v_counts;
end $$;
comment on function public.settle_deliveries is 'Finds out what became of mails in doubt';

create function public.follow_deliveries(
  p_job uuid, p_fence bigint, p_job_type text, p_after bigint, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Follows queued mails to their delivery or failure, a page by id at a time, for 60 days; p_job_type null: of all.
-- Returns {"next": id to go on after | null, "delivered", "failed"}. Where email_queue cannot be read nothing is followed.
declare
  v_page bigint[];
  v_counts jsonb;
begin
  perform public.require_lease(p_job, p_fence);
  v_page := array(
    select e.id from public.email_deliveries e
      where e.status = 'sent' and e.delivered_at is null and e.email_id is not null
        and (p_job_type is null or e.job_type = p_job_type) and e.id > p_after
        and e.created_at > now() - interval '60 days'
      order by e.id limit p_limit);
  begin
    execute $query$
      with ended as (
        update public.email_deliveries e set
            status = q.status,
            delivered_at = case when q.status = 'sent' then coalesce(q.sent_at, now()) end,
            reason = case when q.status = 'failed' then 'not delivered' || coalesce(': ' || left(
              regexp_replace(q.error_message, '[^\s<>]+@[^\s<>]+', '[address]', 'g'), 200), '') end,
            updated_at = clock_timestamp()
          from public.email_queue q
          where e.id = any ($1) and q.id = e.email_id and e.status = 'sent' and q.status in ('sent', 'failed')
          returning e.status)
      select jsonb_build_object('delivered', count(*) filter (where status = 'sent'),
                                'failed', count(*) filter (where status = 'failed')) from ended
    $query$ into v_counts using v_page;
  exception when undefined_table or undefined_column or insufficient_privilege then
    return jsonb_build_object('next', null, 'delivered', 0, 'failed', 0);
  end;
  return v_counts || jsonb_build_object('next',
    case when cardinality(v_page) = p_limit then v_page[cardinality(v_page)] end);
end $$;
comment on function public.follow_deliveries is 'Notes which queued mails were delivered, and which failed';

create function public.delivery_counts(p_key_prefix text, p_jobs uuid[] default null) returns jsonb
language sql stable security definer set search_path = '' as $$
-- How many mails whose key begins with p_key_prefix (null: any) and that p_jobs (null: anybody) had stand how: `queued`
-- are those the mail service has, `delivered` the part of them that it has sent. `errors` has a line for each of the
-- first 50 that failed or of which nobody can tell; `unanswered` counts those that are the service's fault.
  with mails as (
    select e.id, e.status, e.reason, e.delivered_at from public.email_deliveries e
      where (p_key_prefix is null
             or (e.dedupe_key >= p_key_prefix collate "C"
                 and e.dedupe_key < (left(p_key_prefix, -1) || chr(ascii(right(p_key_prefix, 1)) + 1)) collate "C"))
        and (p_jobs is null or e.job_id = any (p_jobs)))
  select jsonb_build_object(
      'planned', count(*) filter (where status = 'planned'),
      'sending', count(*) filter (where status = 'sending'),
      'queued', count(*) filter (where status = 'sent'),
      'delivered', count(*) filter (where status = 'sent' and delivered_at is not null),
      'failed', count(*) filter (where status = 'failed'),
      'skipped', count(*) filter (where status = 'skipped'),
      'unknown', count(*) filter (where status = 'unknown'),
      'unanswered', count(*) filter (where status = 'unknown' or (status = 'failed' and reason like 'no answer%')),
      'errors', (select coalesce(jsonb_agg(format('mail %s %s: %s', id, status, coalesce(reason, 'no reason')) order by id), '[]')
         from (select * from mails where status in ('failed', 'unknown') order by id limit 50) first_ones))
    from mails
$$;
comment on function public.delivery_counts is 'How the mails of a period or of some jobs stand';

revoke execute on function public.mail_refusal, public.first_name, public.check_preference, public.record_deliveries,
  public.exchange_deliveries, public.settle_deliveries, public.follow_deliveries, public.delivery_counts
  from public, anon, authenticated;
grant execute on function public.mail_refusal, public.first_name, public.check_preference, public.record_deliveries,
  public.exchange_deliveries, public.settle_deliveries, public.follow_deliveries, public.delivery_counts to service_role;

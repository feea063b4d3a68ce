-- Mails about something that happened: found by what the ledger does not have yet. Before the deploy.
set lock_timeout = '5s';

create function public.events_since(p_job_type text, p_look_back_days integer, p_first_look_back_days integer)
returns timestamptz
language plpgsql security definer set search_path = '' as $$
-- From when on events are mailed about: the look-back, and never further than the first run of the job type looked.
-- Otherwise the second run would mail everything that the first one left alone as too old.
declare
  v_first timestamptz;
begin
  insert into public.mail_jobs (job_type) values (p_job_type) on conflict do nothing;
  select first_run_at into strict v_first from public.mail_jobs where job_type = p_job_type;
  return greatest(now() - make_interval(days => p_look_back_days), v_first - make_interval(days => p_first_look_back_days));
end $$;
comment on function public.events_since is 'From when on a job type mails about events';

create function public.insert_event_mails(p_job uuid, p_job_type text, p_events jsonb, p_preference text) returns jsonb
language sql security definer set search_path = '' as $$
-- Plans one mail for each event [{"key", "userId", "emailType", "data"}], oldest first; who may not be mailed about it is
-- skipped, for good: an event is not mailed about later because somebody has changed their mind since.
  with made as (
    insert into public.email_deliveries (dedupe_key, job_type, period, user_id, email_type, status, reason, data, job_id, settled_at)
      select v.key, p_job_type, 'event', v."userId", v."emailType",
          case when r.refusal is null then 'planned' else 'skipped' end, r.refusal,
          case when r.refusal is null then v.data end, case when r.refusal is not null then p_job end,
          case when r.refusal is not null then clock_timestamp() end
        from rows from (jsonb_to_recordset(p_events) as (key text, "userId" uuid, "emailType" text, data jsonb))
               with ordinality as v (key, "userId", "emailType", data, place)
          left join public.users u on u.id = v."userId"
          left join public.email_preferences p on p.user_id = v."userId"
          cross join lateral (select public.mail_refusal(u, p, p_preference, false) as refusal) r
        order by v.place
      on conflict (dedupe_key) do nothing
      returning status)
  select jsonb_build_object('planned', count(*) filter (where status = 'planned'),
                            'skipped', count(*) filter (where status = 'skipped')) from made
$$;
comment on function public.insert_event_mails is 'Plans a mail for each event that the ledger does not have';

create function public.plan_submission_mails(
  p_job uuid, p_fence bigint, p_look_back_days integer, p_first_look_back_days integer, p_limit integer,
  p_email_types jsonb, p_preference text
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Plans at most p_limit mails about submissions received, approved or rejected; p_email_types names the mail of each.
-- Returns {"planned", "skipped"}; both 0 when there is nothing left to plan.
declare
  v_since timestamptz := public.events_since('submission_notifications', p_look_back_days, p_first_look_back_days);
  v_events jsonb;
begin
  perform public.require_lease(p_job, p_fence);
  perform public.check_preference(p_preference);
  select jsonb_agg(jsonb_build_object('key', e.key, 'userId', e.submitted_by, 'emailType', p_email_types ->> e.what,
             'data', jsonb_strip_nulls(jsonb_build_object('submissionTitle', coalesce(e.title, e.url),
               'submissionUrl', e.url, 'reason', case when e.what = 'rejected' then e.moderator_notes end)))
             order by e.at, e.key)
    into v_events
    from (
      select q.*, w.what, w.at, format('submission_notifications:%s:%s', q.id, w.what) as key
        from public.moderation_queue q
          cross join lateral (
            select 'received' as what, q.created_at as at
            union all
            select q.status, coalesce(q.moderated_at, q.created_at) where q.status in ('approved', 'rejected')) w
        where q.submitted_by is not null and w.at >= v_since
          and not exists (select from public.email_deliveries d
                where d.dedupe_key = format('submission_notifications:%s:%s', q.id, w.what))
        order by w.at, q.id
        limit p_limit) e;
  return public.insert_event_mails(p_job, 'submission_notifications', coalesce(v_events, '[]'), p_preference);
end $$;
comment on function public.plan_submission_mails is 'Plans mails about submissions, a page at a time';

create function public.plan_moderation_mails(
  p_job uuid, p_fence bigint, p_look_back_days integer, p_first_look_back_days integer, p_limit integer,
  p_email_type text, p_preference text
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- Plans at most p_limit mails about reports resolved or dismissed. Returns {"planned", "skipped"}; both 0 at the end.
declare
  v_since timestamptz := public.events_since('moderation_updates', p_look_back_days, p_first_look_back_days);
  v_events jsonb;
begin
  perform public.require_lease(p_job, p_fence);
  perform public.check_preference(p_preference);
  select jsonb_agg(jsonb_build_object('key', e.key, 'userId', e.reported_by, 'emailType', p_email_type,
             'data', jsonb_strip_nulls(jsonb_build_object('contentTitle', coalesce(e.title, e.url, 'content that is gone'),
               'contentUrl', coalesce(e.url, ''), 'reportReason', e.reason, 'outcome', e.status,
               'notes', e.resolution_notes)))
             order by e.at, e.key)
    into v_events
    from (
      select r.reported_by, r.reason, r.status, r.resolution_notes, d.title, d.url,
          coalesce(r.resolved_at, r.updated_at, r.created_at) as at, format('moderation_updates:%s:%s', r.id, r.status) as key
        from public.content_reports r left join public.discoveries d on d.id = r.discovery_id
        where r.status in ('resolved', 'dismissed') and coalesce(r.resolved_at, r.updated_at, r.created_at) >= v_since
          and not exists (select from public.email_deliveries e
                where e.dedupe_key = format('moderation_updates:%s:%s', r.id, r.status))
        order by 7, r.id
        limit p_limit) e;
  return public.insert_event_mails(p_job, 'moderation_updates', coalesce(v_events, '[]'), p_preference);
end $$;
comment on function public.plan_moderation_mails is 'Plans mails about reports, a page at a time';

revoke execute on function public.events_since, public.insert_event_mails, public.plan_submission_mails,
  public.plan_moderation_mails from public, anon, authenticated;
grant execute on function public.events_since, public.insert_event_mails, public.plan_submission_mails,
  public.plan_moderation_mails to service_role;

-- An admin's edit of a schedule with its version and audit entry, and who of several shims puts Prefect right.
-- Before the deploy. Additive.
set lock_timeout = '5s';

create function public.edit_schedule(
  p_job_type text, p_changes jsonb, p_asked jsonb, p_action text, p_by text, p_actor text,
  p_expected bigint[] default null
) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- p_changes may have cron, timezone and enabled: a value is kept, null means "as prefect.yaml says", and what is absent
-- stays as it is. p_asked is what the audit shows. With p_expected the edit is made only where the version is one of
-- these; 0 is the version of a schedule that nobody ever edited. A version is never used twice: an override that is
-- taken back stays as a row of nulls.
-- Returns {"outcome": "done" | "unchanged" | "mismatch", "override": row | null, "paused": reason | null}.
declare
  v_was public.schedule_overrides;
  v_new public.schedule_overrides;
  v_outcome text := 'done';
begin
  -- Two first edits at once: the second waits here for the row of the first.
  insert into public.schedule_overrides (job_type, version) values (p_job_type, 0) on conflict do nothing;
  select * into strict v_was from public.schedule_overrides where job_type = p_job_type for update;
  v_new := v_was;
  if p_changes ? 'cron' then v_new.cron := p_changes ->> 'cron'; end if;
  if p_changes ? 'timezone' then v_new.timezone := p_changes ->> 'timezone'; end if;
  if p_changes ? 'enabled' then v_new.enabled := (p_changes ->> 'enabled')::boolean; end if;
  if v_was.version <> all (p_expected) then
    v_outcome := 'mismatch';
  elsif v_new is not distinct from v_was then
    v_outcome := 'unchanged';
  end if;
  if v_outcome = 'done' then
    update public.schedule_overrides set
      cron = v_new.cron, timezone = v_new.timezone, enabled = v_new.enabled,
      version = v_was.version + 1, updated_by = p_by, updated_at = clock_timestamp()
    where job_type = p_job_type
    returning * into v_new;
  else
    -- Nobody has edited it, and nobody has now.
    delete from public.schedule_overrides where job_type = p_job_type and version = 0;
    v_new := v_was;
  end if;
  insert into public.scheduler_audit (actor, action, job_type, parameters, outcome, details)
    values (p_actor, p_action, p_job_type, p_asked,
      case v_outcome when 'mismatch' then 'refused' else v_outcome end,
      case v_outcome
        when 'done' then jsonb_build_object('version', v_new.version,
          'before', jsonb_build_object('cron', v_was.cron, 'timezone', v_was.timezone, 'enabled', v_was.enabled),
          'after', jsonb_build_object('cron', v_new.cron, 'timezone', v_new.timezone, 'enabled', v_new.enabled))
        when 'mismatch' then jsonb_build_object('version', v_was.version, 'expected', to_jsonb(p_expected))
        else jsonb_build_object('version', v_was.version) end);
  return jsonb_build_object('outcome', v_outcome, 'paused', public.pause_reason(),
    'override', case when v_new.version > 0 then to_jsonb(v_new) end);
end $$;
comment on function public.edit_schedule is 'Changes or takes back an override of a schedule: row, version and audit entry in one transaction';

create function public.schedules_now() returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object('paused', public.pause_reason(),
    'overrides', (select coalesce(jsonb_agg(to_jsonb(o) order by o.job_type), '[]') from public.schedule_overrides o))
$$;
comment on function public.schedules_now is 'Every override of a schedule, and why nothing starts now: {"overrides": [rows], "paused": reason | null}';

create table public.schedule_watch (
  only_row boolean primary key default true check (only_row),
  watcher text not null,
  until timestamptz not null
);
comment on table public.schedule_watch is 'Which shim puts the schedules in Prefect right; another takes over when it has been silent until then';
alter table public.schedule_watch enable row level security;
revoke all on public.schedule_watch from anon, authenticated;
grant select, insert, update, delete on public.schedule_watch to service_role;

create function public.watch_schedules(p_watcher text, p_seconds double precision) returns jsonb
language plpgsql security definer set search_path = '' as $$
-- {"mine": whether p_watcher is the one for the next p_seconds, "overrides": [rows]}. During a roll-out two releases may
-- hold different files: one of them acts, so that Prefect is not sent to and fro.
begin
  insert into public.schedule_watch as w (watcher, until)
    values (p_watcher, clock_timestamp() + make_interval(secs => p_seconds))
    on conflict (only_row) do update set watcher = excluded.watcher, until = excluded.until
      where w.watcher = excluded.watcher or w.until < clock_timestamp();
  return jsonb_build_object('mine', found, 'overrides', public.schedules_now() -> 'overrides');
end $$;
comment on function public.watch_schedules is 'Makes one of several shims the one that puts schedules right, and tells the overrides';

create function public.note_schedule_restored(p_job_type text, p_details jsonb) returns void
language sql security definer set search_path = '' as $$
  insert into public.scheduler_audit (actor, action, job_type, outcome, details)
    values ('reconciler', 'restore_schedule', p_job_type, 'done', p_details)
$$;
comment on function public.note_schedule_restored is 'Audits a schedule in Prefect that was made what file and override say';

revoke execute on function public.edit_schedule, public.schedules_now, public.watch_schedules,
  public.note_schedule_restored from public, anon, authenticated;
grant execute on function public.edit_schedule, public.schedules_now, public.watch_schedules,
  public.note_schedule_restored to service_role;

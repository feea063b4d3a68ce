-- The site's own tables, as other teams keep them (everything but scheduled_jobs, which is ours and comes from
-- supabase/migrations). For the sandbox and the tests only: nothing in production is ever made from this file.
-- Applied by the superuser to a database that already has the roles anon, authenticated and service_role; may be applied again.

set client_min_messages = warning;

create or replace function public.touch_updated_at() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end
$$;

create table if not exists public.users (
  id uuid primary key default gen_random_uuid(),
  clerk_user_id text not null unique,
  email text,
  username text,
  full_name text,
  role text not null default 'user' check (role in ('user', 'moderator', 'admin')),
  deleted_at timestamptz,
  last_sign_in_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table if not exists public.user_preferences (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null unique references public.users (id) on delete cascade,
  wildness integer not null default 50 check (wildness between 0 and 100),
  preferred_topics text[] not null default '{}',
  blocked_domains text[] not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table if not exists public.email_preferences (
  user_id uuid primary key references public.users (id) on delete cascade,
  welcome_email boolean not null default true,
  weekly_trending boolean not null default true,
  weekly_new boolean not null default true,
  saved_digest boolean not null default true,
  submission_updates boolean not null default true,
  re_engagement boolean not null default true,
  account_notifications boolean not null default true,
  unsubscribed_all boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table if not exists public.discoveries (
  id uuid primary key default gen_random_uuid(),
  url text not null unique,
  title text,
  description text,
  domain text,
  image_url text,
  topics text[] not null default '{}',
  status text not null default 'pending' check (status in ('pending', 'approved', 'rejected')),
  crawl_status text not null default 'pending' check (crawl_status in ('pending', 'crawling', 'completed', 'failed')),
  crawl_error text,
  last_crawled_at timestamptz,
  view_count bigint not null default 0,
  like_count integer not null default 0,
  save_count integer not null default 0,
  share_count integer not null default 0,
  trending_score double precision not null default 0,
  is_active boolean not null default true,
  submitted_by uuid references public.users (id) on delete set null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz
);
create index if not exists discoveries_crawl_pending_idx on public.discoveries (created_at) where crawl_status = 'pending';

create table if not exists public.user_interactions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references public.users (id) on delete set null,
  discovery_id uuid not null references public.discoveries (id) on delete cascade,
  type text not null check (type in ('view', 'like', 'skip', 'save', 'share')),
  time_spent_seconds integer,
  metadata jsonb,
  created_at timestamptz not null default now(),
  unique (user_id, discovery_id, type)
);
create index if not exists user_interactions_created_at_idx on public.user_interactions (created_at);

create table if not exists public.content_metrics (
  discovery_id uuid primary key,
  views_count integer not null default 0,
  total_views_count bigint not null default 0,
  likes_count integer not null default 0,
  saves_count integer not null default 0,
  shares_count integer not null default 0,
  skip_count integer not null default 0,
  engagement_rate numeric not null default 0,
  last_updated timestamptz not null default now()
);
comment on column public.content_metrics.views_count is 'unique viewers; total_views_count counts every view';

create table if not exists public.trending_content (
  id uuid primary key default gen_random_uuid(),
  discovery_id uuid not null,
  time_window text not null check (time_window in ('1h', '24h', '7d')),
  interaction_count integer not null default 0,
  like_count integer not null default 0,
  share_count integer not null default 0,
  save_count integer not null default 0,
  trending_score numeric not null default 0,
  calculated_at timestamptz not null default now()
);

create table if not exists public.moderation_queue (
  id uuid primary key default gen_random_uuid(),
  url text not null,
  title text,
  description text,
  domain text,
  issues text[] not null default '{}',
  confidence_score numeric,
  submitted_by uuid references public.users (id) on delete set null,
  status text not null default 'pending' check (status in ('pending', 'approved', 'rejected')),
  moderated_by uuid,
  moderated_at timestamptz,
  moderator_notes text,
  created_at timestamptz not null default now()
);

create table if not exists public.content_reports (
  id uuid primary key default gen_random_uuid(),
  discovery_id uuid not null,
  reported_by uuid not null references public.users (id) on delete cascade,
  reason text not null check (reason in ('spam', 'inappropriate', 'broken', 'offensive', 'copyright', 'other')),
  description text,
  status text not null default 'pending' check (status in ('pending', 'resolved', 'dismissed')),
  resolved_by uuid,
  resolved_at timestamptz,
  resolution_notes text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- The foreign key is what makes the mail service answer 500 to an unknown user.
create table if not exists public.email_queue (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.users (id) on delete cascade,
  email_type text not null,
  recipient_email text not null,
  status text not null default 'pending' check (status in ('pending', 'sent', 'failed')),
  attempts integer not null default 0,
  sent_at timestamptz,
  error_message text,
  created_at timestamptz not null default now()
);

do $$
declare
  site_table text;
begin
  foreach site_table in array array['users', 'user_preferences', 'email_preferences', 'discoveries', 'content_reports'] loop
    execute format(
      'create or replace trigger touch_updated_at before update on public.%I '
      'for each row execute function public.touch_updated_at()', site_table);
  end loop;

  -- As on a hosted Supabase: the three roles hold table grants, row-level security decides, service_role bypasses it.
  foreach site_table in array array[
    'users', 'user_preferences', 'email_preferences', 'discoveries', 'user_interactions', 'content_metrics',
    'trending_content', 'moderation_queue', 'content_reports', 'email_queue'] loop
    execute format('alter table public.%I enable row level security', site_table);
    execute format('grant all on table public.%I to anon, authenticated, service_role', site_table);
  end loop;

  -- What a visitor without a session may read; everything else has no policy and stays shut.
  foreach site_table in array array['content_metrics', 'trending_content'] loop
    execute format('drop policy if exists "readable by everyone" on public.%I', site_table);
    execute format('create policy "readable by everyone" on public.%I for select using (true)', site_table);
  end loop;
end
$$;

drop policy if exists "approved ones are readable by everyone" on public.discoveries;
create policy "approved ones are readable by everyone" on public.discoveries
  for select using (status = 'approved' and is_active and deleted_at is null);

grant usage on schema public to anon, authenticated, service_role;
reset client_min_messages;

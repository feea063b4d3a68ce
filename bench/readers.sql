-- Readers $1 to $2, each of whom gets a digest, with what they prefer, block and have seen; discoveries for them to get.
-- `:first`, `:last` and `:discoveries` are put in by bench.digest. Made as the superuser, without foreign keys' triggers.
set session_replication_role = replica;
select setseed(0.5);

create table if not exists bench_discoveries (n integer primary key, id uuid not null);

with made as (
  insert into public.discoveries (url, title, description, domain, image_url, topics, status, crawl_status, created_at,
      like_count, save_count, share_count, trending_score)
    select 'https://site-' || n % 400 || '.example/articles/' || n, 'Article number ' || n || ' about something good',
        repeat('What there is to say of it, in a few words. ', 2 + n % 5), 'site-' || n % 400 || '.example',
        'https://site-' || n % 400 || '.example/images/' || n || '.jpg',
        array['topic-' || n % 44, 'topic-' || (n * 7) % 44], 'approved', 'completed', now() - n * interval '5 minutes',
        n % 50, n % 20, n % 7, 1.0 / (1 + n % 1000)
      from generate_series(1, :discoveries) n
    on conflict (url) do nothing
    returning id, url)
insert into bench_discoveries select split_part(url, '/', 5)::integer, id from made;

insert into public.trending_content (discovery_id, time_window, trending_score)
  select d.id, '7d', 1.0 / d.n from bench_discoveries d
    where d.n % 40 = 1 and not exists (select from public.trending_content) order by d.n limit 100;

create temporary table made_readers as
  select n, gen_random_uuid() as id from generate_series(:first, :last) n;

insert into public.users (id, clerk_user_id, email, username, full_name, last_sign_in_at)
  select id, 'user_2bench' || n, 'reader.' || n || '@reader.example', 'reader' || n,
      (array['Mia', 'Noah', 'Lena', 'Omar', 'Ines'])[1 + n % 5] || ' Reader', now() - random() * interval '60 days'
    from made_readers;
insert into public.user_preferences (user_id, wildness, preferred_topics, blocked_domains)
  select id, n % 101, array(select 'topic-' || (n * 13 + step * 5) % 44 from generate_series(0, 2 + n % 4) step),
      case when n % 10 = 0 then array['site-' || n % 400 || '.example'] else '{}' end
    from made_readers;
insert into public.email_preferences (user_id) select id from made_readers;
-- Five views each, more of what is new than of what is old.
insert into public.user_interactions (user_id, discovery_id, type, created_at)
  select r.id, d.id, 'view', now() - random() * interval '30 days'
    from made_readers r cross join generate_series(1, 5) step
      join bench_discoveries d on d.n = 1 + floor(:discoveries * power(((r.n * 7919 + step * 104729) % 100003) / 100003.0, 3))
  on conflict do nothing;
drop table made_readers;

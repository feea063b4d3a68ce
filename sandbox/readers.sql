-- Readers :first to :last, each of whom wants the digest, with what they prefer, block and have seen; and, where there are
-- none yet, :discoveries discoveries on :topics topics for them to get. Run by sandbox.seed, in one transaction.
select setseed(0.5);

create temporary table seeded_discoveries on commit drop as
  select n, 'https://site-' || n % 400 || '.example/articles/' || n as url from generate_series(1, :discoveries) n;
insert into public.discoveries (url, title, description, domain, image_url, topics, status, crawl_status, created_at,
    like_count, save_count, share_count, trending_score)
  select url, 'Article number ' || n || ' about something good',
      repeat('What there is to say of it, in a few words. ', 2 + n % 5), 'site-' || n % 400 || '.example',
      'https://site-' || n % 400 || '.example/images/' || n || '.jpg',
      array['topic-' || n % :topics, 'topic-' || (n * 7) % :topics], 'approved', 'completed',
      now() - n * interval '5 minutes', n % 50, n % 20, n % 7, 1.0 / (1 + n % 1000)
    from seeded_discoveries
  on conflict (url) do nothing;
insert into public.trending_content (discovery_id, time_window, trending_score)
  select d.id, '7d', 1.0 / s.n from seeded_discoveries s join public.discoveries d on d.url = s.url
    where s.n % 40 = 1 and not exists (select from public.trending_content) order by s.n limit 100;

create temporary table seeded_readers on commit drop as
  select n, gen_random_uuid() as id from generate_series(:first, :last) n;
insert into public.users (id, clerk_user_id, email, username, full_name, last_sign_in_at)
  select id, 'user_2reader' || n, 'reader.' || n || '@reader.example', 'reader' || n,
      (array['Mia', 'Noah', 'Lena', 'Omar', 'Ines'])[1 + n % 5] || ' Reader', now() - random() * interval '60 days'
    from seeded_readers;
insert into public.user_preferences (user_id, wildness, preferred_topics, blocked_domains)
  select id, n % 101, array(select 'topic-' || (n * 13 + step * 5) % :topics from generate_series(0, 2 + n % 4) step),
      case when n % 10 = 0 then array['site-' || n % 400 || '.example'] else '{}' end
    from seeded_readers;
insert into public.email_preferences (user_id) select id from seeded_readers;
-- Five views each, more of what is new than of what is old.
insert into public.user_interactions (user_id, discovery_id, type, created_at)
  select r.id, d.id, 'view', now() - random() * interval '30 days'
    from seeded_readers r cross join generate_series(1, 5) step
      join seeded_discoveries s
        on s.n = 1 + floor(:discoveries * power(((r.n::bigint * 7919 + step * 104729) % 100003) / 100003.0, 3))
      join public.discoveries d on d.url = s.url
  on conflict do nothing;

-- Crawl claims: a discovery is in one hand at a time, the row tells what was done, and attempts are counted.
begin;
set local plpgsql.check_asserts = on;
delete from public.maintenance;

create function pg_temp.page(p_place integer, p_status text default 'pending') returns uuid language sql as $$
  -- Older than anything else there is, so that a claim takes it first.
  insert into public.discoveries (url, crawl_status, created_at, last_crawled_at)
    values ('http://sql.test/' || gen_random_uuid(), p_status, 'epoch'::timestamptz + make_interval(secs => p_place),
            case when p_status <> 'pending' then 'epoch'::timestamptz end)
    returning id
$$;
create function pg_temp.claim(p_job public.scheduled_jobs, p_limit integer, p_round integer) returns uuid[]
language sql as
$$ select array(select id from public.claim_crawl_batch(p_job.id, p_job.fence, p_limit, p_round)) $$;
create function pg_temp.reclaim(p_job public.scheduled_jobs, p_id uuid, p_round integer, p_days integer default null)
returns text language sql as
$$ select outcome from public.claim_recrawl_batch(p_job.id, p_job.fence, array[p_id], p_round, p_days) $$;
create function pg_temp.settle(p_job public.scheduled_jobs, p_id uuid, p_round integer, p_answered boolean default true)
returns text language sql as
$$ select outcome from public.settle_crawl_batch(p_job.id, p_job.fence, array[p_id], p_answered, 120, 3, p_round) $$;
create function pg_temp.status_of(p_id uuid) returns text language sql as
$$ select crawl_status from public.discoveries where id = p_id $$;

do $$
declare
  first uuid := pg_temp.page(1);
  second uuid := pg_temp.page(2);
  third uuid := pg_temp.page(3);
  one public.scheduled_jobs := pg_temp.running();
  two public.scheduled_jobs := pg_temp.running();
begin
  assert pg_temp.claim(one, 2, 1) = array[first, second], 'not the oldest are claimed first';
  assert pg_temp.claim(one, 2, 1) = array[first, second], 'asked again in its round, a claim gives other rows';
  assert pg_temp.claim(two, 1, 1) = array[third], 'what is held is claimed again';
  assert pg_temp.reclaim(two, first, 2) = 'held', 'a re-crawl takes what a first crawl holds';
  assert pg_temp.settle(two, first, 3) = 'released', 'what another job holds is settled';
  update public.discoveries set crawl_status = 'completed' where id = first;
  assert pg_temp.settle(one, first, 2) = 'completed', 'the row does not tell';
  assert pg_temp.settle(one, first, 2) = 'completed', 'told twice, it says something else';
  perform public.release_crawl_batch(one.id, one.fence, array[second]);
  assert pg_temp.claim(two, 1, 4) = array[second], 'what was given back is not free';
end $$;

do $$
declare
  page uuid := pg_temp.page(-9);
  job public.scheduled_jobs := pg_temp.running();
begin
  perform pg_temp.claim(job, 1, 1);
  assert pg_temp.settle(job, page, 2, false) = 'in_doubt', 'a lost answer is not waited for';
  assert pg_temp.settle(job, page, 3) = 'retry' and pg_temp.settle(job, page, 3) = 'retry',
    'a first attempt is the last';
  assert pg_temp.settle(job, page, 4) = 'retry', 'a repeat counts an attempt';
  assert pg_temp.settle(job, page, 5) = 'exhausted' and pg_temp.status_of(page) = 'failed',
    'after three attempts it goes on';
end $$;

do $$
declare
  page uuid := pg_temp.page(-8, 'completed');
  job public.scheduled_jobs := pg_temp.running();
  other public.scheduled_jobs := pg_temp.running();
begin
  assert pg_temp.reclaim(job, page, 1, 30) = 'claimed', 'what is stale cannot be claimed';
  assert pg_temp.reclaim(other, page, 1) = 'held', 'two runs crawl a page again';
  assert pg_temp.settle(job, page, 2) = 'retry', 'what was complete before counts as crawled';
  assert pg_temp.status_of(page) = 'completed', 'a page vanishes while it is crawled again';
  update public.discoveries set last_crawled_at = now() where id = page;
  assert pg_temp.settle(job, page, 3) = 'completed', 'the row does not tell';
  assert pg_temp.reclaim(other, page, 2, 30) = 'held', 'what has just been crawled is stale';
  assert pg_temp.reclaim(other, page, 3) = 'claimed', 'what is settled is not free';
  assert pg_temp.settle(other, page, 4) = 'retry' and pg_temp.settle(other, page, 5) = 'retry'
    and pg_temp.settle(other, page, 6) = 'exhausted' and pg_temp.settle(other, page, 6) = 'exhausted',
      'attempts are not counted';
  assert pg_temp.status_of(page) = 'completed', 'a page that was complete is failed for the crawler''s sake';
  assert pg_temp.reclaim(job, gen_random_uuid(), 9) = 'gone', 'a page that there is not is claimed';
end $$;

do $$
declare
  page uuid := pg_temp.page(-7, 'completed');
  fresh uuid := pg_temp.page(-6);
  dead public.scheduled_jobs := pg_temp.running();
  next public.scheduled_jobs := pg_temp.running();
begin
  perform pg_temp.reclaim(dead, page, 1), pg_temp.claim(dead, 1, 2);
  update public.discoveries set crawl_status = 'crawling' where id in (page, fresh);
  update public.scheduled_jobs set locked_at = now() - interval '1 hour' where id = dead.id;
  assert pg_temp.reclaim(next, page, 1) = 'held', 'a lease that may yet be renewed has lost its claims';
  perform public.bury_job(dead.flow_run_id, 'a worker', 'Killed'), public.open_crawl(next.id, next.fence, 0);
  assert pg_temp.status_of(page) = 'completed', 'a page that was complete is left as pending';
  assert pg_temp.status_of(fresh) = 'pending', 'a page that waited is lost';
  assert pg_temp.reclaim(next, page, 2) = 'claimed' and pg_temp.claim(next, 1, 3) = array[fresh],
    'what a dead run held is not free';
end $$;

rollback;

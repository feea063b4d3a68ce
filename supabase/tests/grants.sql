-- Who may do what with ours. Read off the catalogs: whatever a later migration makes is held to the same.
begin;
set local plpgsql.check_asserts = on;

-- Ours is what our migrations have created, by the ledger that the Supabase CLI keeps. The first of them is named
-- because the site may keep its own in the same ledger.
create temp table our_names on commit drop as
  select distinct lower(found[1]) as kind, lower(found[2]) as name
  from supabase_migrations.schema_migrations m, unnest(m.statements) as statement,
    regexp_matches(statement,
      'create\s+(?:or\s+replace\s+|unlogged\s+)?(function|procedure|table|view|materialized\s+view)\s+'
      '(?:if\s+not\s+exists\s+)?(?:public\.)?"?(\w+)', 'gi') as found
  where m.version >= '20261123090000';

create temp table our_functions on commit drop as
  select p.oid, p.oid::regprocedure::text as name, p.prosecdef, p.proconfig,
    obj_description(p.oid, 'pg_proc') as comment
  from pg_proc p
  where p.pronamespace = 'public'::regnamespace
    and p.proname in (select n.name from our_names n where n.kind in ('function', 'procedure'));

create temp table our_relations on commit drop as
  select c.oid, c.oid::regclass::text as name, c.relkind, c.relrowsecurity,
    obj_description(c.oid, 'pg_class') as comment
  from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
    and c.relname in (select n.name from our_names n where n.kind not in ('function', 'procedure'));

create temp table strangers on commit drop as
  select role from unnest(array['anon', 'authenticated']) as role;

do $$
begin
  assert (select count(*) from our_functions) >= 40, 'the ledger does not tell our functions';
  assert (select count(*) from our_relations) >= 10, 'the ledger does not tell our tables';
end $$;

do $$
declare
  wrong text := (select string_agg(format('%s may call %s', s.role, f.name), '; ')
    from our_functions f, strangers s where has_function_privilege(s.role, f.oid, 'execute'));
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('%s may %s %s', s.role, p.privilege, r.name), '; ')
    from our_relations r, strangers s,
      unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) as p (privilege)
    where has_table_privilege(s.role, r.oid, p.privilege));
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('%s may %s a column of %s', s.role, p.privilege, r.name), '; ')
    from our_relations r, strangers s, unnest(array['select', 'insert', 'update', 'references']) as p (privilege)
    where has_any_column_privilege(s.role, r.oid, p.privilege));
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('%s has no row-level security', r.name), '; ')
    from our_relations r where r.relkind in ('r', 'p') and not r.relrowsecurity);
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('policy %s lets somebody into %s', p.polname, r.name), '; ')
    from our_relations r join pg_policy p on p.polrelid = r.oid);
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('service_role may not call %s', f.name), '; ')
    from our_functions f where not has_function_privilege('service_role', f.oid, 'execute'));
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('service_role may not read %s', r.name), '; ')
    from our_relations r where not has_table_privilege('service_role', r.oid, 'select'));
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('%s has no pinned search_path', f.name), '; ')
    from our_functions f where f.prosecdef and not coalesce('search_path=""' = any (f.proconfig), false));
begin
  assert wrong is null, wrong;
end $$;

do $$
declare
  wrong text := (select string_agg(format('%s has no comment', o.name), '; ')
    from (select name, comment from our_functions union all select name, comment from our_relations) o
    where coalesce(o.comment, '') = '');
begin
  assert wrong is null, wrong;
end $$;

-- What the catalogs say is what happens.
do $$
declare
  tables text[] := array(select r.name from our_relations r where r.relkind in ('r', 'p'));
  stranger text;
  one text;
  attempt text;
  refused boolean;
begin
  foreach stranger in array array['anon', 'authenticated'] loop
    foreach one in array tables loop
      foreach attempt in array array['select from %s', 'insert into %s default values', 'delete from %s'] loop
        refused := false;
        execute format('set local role %I', stranger);
        begin
          execute format(attempt, one);
        exception when insufficient_privilege then refused := true;
        end;
        reset role;
        assert refused, format('%s was let through: ' || attempt, stranger, one);
      end loop;
    end loop;
    refused := false;
    execute format('set local role %I', stranger);
    begin
      perform public.accept_job('{"job_type": "crawl_pending"}', '{"actor": "nobody", "action": "trigger"}');
    exception when insufficient_privilege then refused := true;
    end;
    reset role;
    assert refused, format('%s has accepted a job', stranger);
  end loop;
end $$;

rollback;

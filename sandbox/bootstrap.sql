-- What a hosted Supabase project has before its first migration: the API's roles, the schemas auth and extensions, the
-- default grants, and the reload of PostgREST's schema cache after DDL. Run by the cluster's owner at every start;
-- may be run again. The migrations and the site's tables belong to `postgres`, which is no superuser there either.

set client_min_messages = warning;

do $$
declare
  wanted text;
begin
  foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
    if not exists (select from pg_roles where rolname = wanted) then
      execute format('create role %I nologin noinherit', wanted);
    end if;
  end loop;
  if not exists (select from pg_roles where rolname = 'authenticator') then
    create role authenticator login noinherit;
  end if;
end
$$;

alter role service_role bypassrls;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option;
grant pg_monitor, pg_signal_backend, pg_read_all_data to postgres;

create schema if not exists auth;
create schema if not exists extensions;
create extension if not exists pgcrypto with schema extensions;

grant usage on schema public, auth, extensions to anon, authenticated, service_role;
grant all on schema public, extensions to postgres;
grant usage on schema auth to postgres;
grant execute on all functions in schema extensions to anon, authenticated, service_role, postgres;

-- Hosted, everything in public is granted to the three roles, and row-level security is what keeps rows in. A migration
-- that forgets to revoke is found out here as it would be there.
alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;

alter role postgres set search_path = "$user", public, extensions;

create or replace function auth.jwt() returns jsonb language sql stable as
$$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
create or replace function auth.role() returns text language sql stable as
$$ select auth.jwt() ->> 'role' $$;
create or replace function auth.uid() returns uuid language sql stable as
$$ select (auth.jwt() ->> 'sub')::uuid $$;

create or replace function extensions.reload_api_schema() returns event_trigger language plpgsql as
$$
begin
  notify pgrst, 'reload schema';
end
$$;

drop event trigger if exists reload_api_schema_on_ddl;
create event trigger reload_api_schema_on_ddl on ddl_command_end
  when tag in (
    'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE VIEW',
    'ALTER VIEW', 'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION', 'ALTER FUNCTION',
    'CREATE TYPE', 'ALTER TYPE', 'CREATE TRIGGER', 'CREATE RULE', 'COMMENT', 'GRANT', 'REVOKE'
  )
  execute function extensions.reload_api_schema();
drop event trigger if exists reload_api_schema_on_drop;
create event trigger reload_api_schema_on_drop on sql_drop execute function extensions.reload_api_schema();

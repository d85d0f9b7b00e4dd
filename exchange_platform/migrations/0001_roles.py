"""The three roles of the database, and the SQL words that later migrations use.

* the login of DATABASE_URL: bootstrap and maintenance; owns the tables, makes partitions;
* exchange_engine: intake, settlement, services; sees all tenants;
* exchange_tenant: reads under forced row-level security, bound by `exchange.institution` per transaction.

None of the three can change or remove a row of an append-only table: triggers refuse it to everybody, grants to the last two.
"""

from django.conf import settings
from django.db import migrations

from exchange_platform.settings.database import role_password

ROLES = ("exchange_engine", "exchange_tenant")


def create_roles(apps, schema_editor):  # type: ignore[no-untyped-def]
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7202611)")  # roles belong to the cluster: two migrations may meet
        for role in ROLES:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS")
            password = role_password(settings.DATABASE_URL, role)
            if password:
                assert password.isalnum()
                cursor.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
            cursor.execute(f"GRANT USAGE ON SCHEMA public TO {role}")


FUNCTIONS = r"""
-- Every trigger function has its own search_path: a temporary table named like a real one would be found before it.
CREATE FUNCTION exchange_refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the table is append-only, correct with a reversing entry', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION exchange_append_only(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION exchange_refuse_change()', target);
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION exchange_refuse_change()', target);
END $$;

-- Rows on which others hang without a foreign key: never removed, and the columns by which they are known never change. An UPDATE
-- that does not name these columns does not even ask.
CREATE FUNCTION exchange_refuse_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: money and orders hang on this row, it stays and keeps its number', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION exchange_keep(target regclass, VARIADIC columns text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named text;
    before text;
    after text;
BEGIN
    SELECT string_agg(format('%I', c), ', '), string_agg(format('OLD.%I', c), ', '), string_agg(format('NEW.%I', c), ', ')
    INTO named, before, after FROM unnest(columns) AS c;
    EXECUTE format('CREATE TRIGGER refuse_delete BEFORE DELETE ON %s FOR EACH ROW EXECUTE FUNCTION exchange_refuse_removal()', target);
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION exchange_refuse_removal()', target);
    EXECUTE format('CREATE TRIGGER refuse_renumber BEFORE UPDATE OF %s ON %s FOR EACH ROW WHEN (ROW(%s) IS DISTINCT FROM ROW(%s))
        EXECUTE FUNCTION exchange_refuse_removal()', named, target, before, after);
END $$;

CREATE FUNCTION exchange_keep_no_longer(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TRIGGER refuse_renumber ON %s', target);
    EXECUTE format('DROP TRIGGER refuse_truncate ON %s', target);
    EXECUTE format('DROP TRIGGER refuse_delete ON %s', target);
END $$;

-- The first UUIDv7 of a moment: 48 bits of milliseconds, the rest zero.
CREATE FUNCTION exchange_uuid_from(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- One partition. CREATE TABLE … PARTITION OF would lock its parent against everybody, and behind one long reader all trading would
-- queue; ATTACH lets readers and writers be. It waits at most 2 s for what it does conflict with (another change of the table, a
-- VACUUM), then fails whole: partitions are made months ahead, the next attempt is soon enough. Keys, indexes and row triggers come
-- with the attachment; a statement trigger must be made for each.
CREATE FUNCTION exchange_make_partition(parent regclass, name text, low text, high text, storage text, guarded boolean) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) %s', name, parent,
                   CASE WHEN storage LIKE 'fillfactor=%' THEN 'WITH (' || storage || ')' ELSE '' END);
    IF guarded THEN
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION exchange_refuse_change()', name);
    END IF;
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
END $$;

-- Partitions of every partitioned table from last month to so many months ahead. A partition takes its storage parameters
-- from the comment of its parent ("fillfactor=50"), since a partitioned table cannot have any itself.
CREATE FUNCTION exchange_ensure_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent record;
    month timestamptz;
    name text;
    low text;
    high text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7202612);
    FOR parent IN
        SELECT c.oid, c.relname, t.typname, obj_description(c.oid, 'pg_class') AS storage,
               EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname LIKE '%truncate') AS guarded
        FROM pg_partitioned_table p
        JOIN pg_class c ON c.oid = p.partrelid
        JOIN pg_namespace s ON s.oid = c.relnamespace AND s.nspname = 'public'
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        JOIN pg_type t ON t.oid = a.atttypid
        ORDER BY c.relname
    LOOP
        FOR ahead IN -1 .. months_ahead LOOP
            month := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
            month := ((month AT TIME ZONE 'UTC') + make_interval(months => ahead)) AT TIME ZONE 'UTC';
            name := parent.relname || to_char(month AT TIME ZONE 'UTC', '_YYYY_MM');
            CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
            IF parent.typname = 'uuid' THEN
                low := exchange_uuid_from(month)::text;
                high := exchange_uuid_from(((month AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')::text;
            ELSE
                low := month::text;
                high := (((month AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')::text;
            END IF;
            PERFORM exchange_make_partition(parent.oid, name, low, high, parent.storage, parent.guarded);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- Rights follow from the catalog. The engine's role reads what says which migrations there are, reads and adds to append-only
-- tables, writes all others; the tenants' role reads what has a policy for it, nothing else. Views that ask with the rights of
-- whoever reads them may be read by both. Nobody gets rights on partitions themselves, so that the parents' statement
-- triggers cannot be walked around.
CREATE FUNCTION exchange_grant() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    target record;
BEGIN
    FOR target IN
        SELECT c.oid::regclass AS name, c.relname = 'django_migrations' AS read_only,
               c.relkind = 'v' AS is_view, coalesce('security_invoker=true' = ANY (c.reloptions), false) AS bound,
               EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'append_only') AS append_only,
               EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant') AS tenant
        FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace AND s.nspname = 'public'
        WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM exchange_engine, exchange_tenant', target.name);
        IF target.read_only OR target.is_view THEN
            EXECUTE format('GRANT SELECT ON %s TO exchange_engine', target.name);
        ELSIF target.append_only THEN
            EXECUTE format('GRANT SELECT, INSERT ON %s TO exchange_engine', target.name);
        ELSE
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO exchange_engine', target.name);
        END IF;
        IF target.tenant OR (target.is_view AND target.bound) THEN
            EXECUTE format('GRANT SELECT ON %s TO exchange_tenant', target.name);
        END IF;
    END LOOP;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM exchange_tenant;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO exchange_engine;
    REVOKE ALL ON SEQUENCE django_migrations_id_seq FROM exchange_engine;
END $$;

-- Row-level security for a table: the engine and the owner see everything, the tenants' role what `visible` says.
CREATE FUNCTION exchange_tenant_policy(target regclass, visible text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY engine ON %s FOR ALL TO exchange_engine, CURRENT_USER USING (true) WITH CHECK (true)', target);
    EXECUTE format('CREATE POLICY tenant ON %s FOR SELECT TO exchange_tenant USING (%s)', target, visible);
END $$;
"""

DROP = """
DROP FUNCTION exchange_tenant_policy(regclass, text);
DROP FUNCTION exchange_grant();
DROP FUNCTION exchange_ensure_partitions(integer);
DROP FUNCTION exchange_make_partition(regclass, text, text, text, text, boolean);
DROP FUNCTION exchange_uuid_from(timestamptz);
DROP FUNCTION exchange_keep_no_longer(regclass);
DROP FUNCTION exchange_keep(regclass, text[]);
DROP FUNCTION exchange_refuse_removal();
DROP FUNCTION exchange_append_only(regclass);
DROP FUNCTION exchange_refuse_change();
"""


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.RunPython(create_roles, migrations.RunPython.noop),
        migrations.RunSQL(FUNCTIONS, DROP),
    ]

"""How a partition leaves: it is closed first, then detached, then kept in the schema `archive`, where nobody but its owner reads.

Nothing is deleted. Records of what has left are written by the maintenance login alone.
"""

from django.db import migrations

SQL = r"""
CREATE SCHEMA archive;
COMMENT ON SCHEMA archive IS 'partitions that have left their tables: kept, read by nobody but their owner';

CREATE FUNCTION exchange_refuse_closed() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: its month is closed', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

-- Nothing is added to this partition any more. The trigger is the partition's own: a trigger that came with the parent goes when the
-- partition is detached, this one stays.
CREATE FUNCTION exchange_close_partition(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER closed BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION exchange_refuse_closed()',
                   target);
END $$;

CREATE FUNCTION exchange_refuse_others() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
        RAISE EXCEPTION '% on % refused: only maintenance writes this', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;

-- Append-only, and not even the engine adds to it.
CREATE FUNCTION exchange_maintenance_only(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM exchange_append_only(target);
    EXECUTE format('CREATE TRIGGER maintenance_only BEFORE INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION exchange_refuse_others()', target);
END $$;
"""

REVERSE = """
DROP FUNCTION exchange_maintenance_only(regclass);
DROP FUNCTION exchange_refuse_others();
DROP FUNCTION exchange_close_partition(regclass);
DROP FUNCTION exchange_refuse_closed();
DROP SCHEMA archive;
"""


class Migration(migrations.Migration):
    dependencies = [("exchange_platform", "0001_roles")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

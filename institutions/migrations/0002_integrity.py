"""What must hold of institutions whatever the code does: audit is append-only, tenants see their own, the platform row exists."""

from django.db import migrations

SQL = """
INSERT INTO institutions_platform (id, is_frozen) VALUES (1, false);

SELECT exchange_append_only('institutions_auditentry');

SELECT exchange_tenant_policy('institutions_institution',
    $$ current_setting('exchange.institution', true) IN ('all', id::text) $$);
SELECT exchange_tenant_policy('institutions_account',
    $$ current_setting('exchange.institution', true) IN ('all', institution_id::text) $$);

CREATE FUNCTION institutions_account_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'account % keeps its institution and kind: money and orders hang on them', OLD.name
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER account_identity BEFORE UPDATE ON institutions_account FOR EACH ROW
    WHEN (OLD.institution_id <> NEW.institution_id OR OLD.kind <> NEW.kind) EXECUTE FUNCTION institutions_account_identity();

ALTER TABLE institutions_account SET (fillfactor = 80);
ALTER TABLE institutions_spentnonce SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX spentnonce_at ON institutions_spentnonce USING brin (spent_at) WITH (pages_per_range = 4);
"""

REVERSE = """
DROP INDEX spentnonce_at;
DROP TRIGGER account_identity ON institutions_account;
DROP FUNCTION institutions_account_identity();
DROP POLICY tenant ON institutions_account;
DROP POLICY engine ON institutions_account;
ALTER TABLE institutions_account NO FORCE ROW LEVEL SECURITY;
ALTER TABLE institutions_account DISABLE ROW LEVEL SECURITY;
DROP POLICY tenant ON institutions_institution;
DROP POLICY engine ON institutions_institution;
ALTER TABLE institutions_institution NO FORCE ROW LEVEL SECURITY;
ALTER TABLE institutions_institution DISABLE ROW LEVEL SECURITY;
DROP TRIGGER append_only ON institutions_auditentry;
DROP TRIGGER append_only_truncate ON institutions_auditentry;
DELETE FROM institutions_platform;
"""


class Migration(migrations.Migration):
    dependencies = [("institutions", "0001_initial"), ("exchange_platform", "0001_roles")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

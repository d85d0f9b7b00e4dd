"""What must hold of institutions whatever the code does: audit is append-only, tenants see and are given their own only, accounts and
the platform's row stay."""

from django.db import migrations

SQL = """
INSERT INTO institutions_platform (id, is_frozen) VALUES (1, false);

SELECT exchange_append_only('institutions_auditentry');

SELECT exchange_tenant_policy('institutions_institution',
    $$ current_setting('exchange.institution', true) IN ('all', id::text) $$);
SELECT exchange_tenant_policy('institutions_account',
    $$ current_setting('exchange.institution', true) IN ('all', institution_id::text) $$);

CREATE FUNCTION institutions_account_identity() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'account % keeps its institution and kind: money and orders hang on them', OLD.name
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER account_identity BEFORE UPDATE ON institutions_account FOR EACH ROW
    WHEN (OLD.institution_id <> NEW.institution_id OR OLD.kind <> NEW.kind) EXECUTE FUNCTION institutions_account_identity();

SELECT exchange_keep('institutions_account', 'id');
SELECT exchange_keep('institutions_platform', 'id');

-- House accounts belong to the house and customers do not; nothing of that changes later.
CREATE FUNCTION institutions_account_house() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (SELECT is_house FROM institutions_institution WHERE id = NEW.institution_id) <> (NEW.kind <> 'CUSTOMER') THEN
        RAISE EXCEPTION 'account %: house accounts belong to the house, customers to a tenant', NEW.name USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER account_house BEFORE INSERT ON institutions_account FOR EACH ROW EXECUTE FUNCTION institutions_account_house();

CREATE FUNCTION institutions_institution_house() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'institution %: it stays what it is, the house or a tenant', OLD.code USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER institution_house BEFORE UPDATE ON institutions_institution FOR EACH ROW WHEN (OLD.is_house <> NEW.is_house)
    EXECUTE FUNCTION institutions_institution_house();

CREATE FUNCTION institutions_apikey_account() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = NEW.account_id AND a.institution_id = NEW.institution_id) THEN
        RAISE EXCEPTION 'key %: its account belongs to another institution', NEW.key USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER apikey_account BEFORE INSERT OR UPDATE OF account_id, institution_id ON institutions_apikey FOR EACH ROW
    WHEN (NEW.account_id IS NOT NULL) EXECUTE FUNCTION institutions_apikey_account();

ALTER TABLE institutions_account SET (fillfactor = 80);
ALTER TABLE institutions_spentnonce SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX spentnonce_at ON institutions_spentnonce USING brin (spent_at) WITH (pages_per_range = 4);
"""

REVERSE = """
DROP INDEX spentnonce_at;
DROP TRIGGER apikey_account ON institutions_apikey;
DROP FUNCTION institutions_apikey_account();
DROP TRIGGER institution_house ON institutions_institution;
DROP FUNCTION institutions_institution_house();
DROP TRIGGER account_house ON institutions_account;
DROP FUNCTION institutions_account_house();
SELECT exchange_keep_no_longer('institutions_platform');
SELECT exchange_keep_no_longer('institutions_account');
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

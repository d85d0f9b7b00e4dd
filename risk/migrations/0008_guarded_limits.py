"""A limit that is there becomes another one, or none, only by an approved request. A new one only tightens, and takes nobody else."""

from django.db import migrations

SQL = """
CREATE FUNCTION risk_refuse_limit() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    about text := 'limit:' || concat_ws(',', OLD.kind, 'institution=' || OLD.institution_id, 'account=' || OLD.account_id,
                                        'symbol=' || OLD.symbol_id);
BEGIN
    IF NOT institutions_approved_now('limit.change', about) THEN
        RAISE EXCEPTION '%: another limit, or none, takes an approved request', about USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF ROW(NEW.kind, NEW.institution_id, NEW.account_id, NEW.symbol_id)
       IS DISTINCT FROM ROW(OLD.kind, OLD.institution_id, OLD.account_id, OLD.symbol_id) THEN
        RAISE EXCEPTION '%: a limit stays with whom it was set for', about USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER limit_changed BEFORE UPDATE ON risk_limit FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION risk_refuse_limit();
CREATE TRIGGER limit_lifted BEFORE DELETE ON risk_limit FOR EACH ROW EXECUTE FUNCTION risk_refuse_limit();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON risk_limit FOR EACH STATEMENT EXECUTE FUNCTION exchange_refuse_removal();
"""

REVERSE = """
DROP TRIGGER refuse_truncate ON risk_limit;
DROP TRIGGER limit_lifted ON risk_limit;
DROP TRIGGER limit_changed ON risk_limit;
DROP FUNCTION risk_refuse_limit();
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0007_surveillance"), ("institutions", "0005_change_requests")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

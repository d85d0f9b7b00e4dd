"""Other fees take an approved request, whoever writes them."""

from django.db import migrations

SQL = """
CREATE FUNCTION markets_refuse_fees() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT institutions_approved_now('symbol.fees', 'symbol:' || NEW.name) THEN
        RAISE EXCEPTION 'symbol %: other fees take an approved request', NEW.name USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER symbol_fees_approved BEFORE UPDATE OF maker_fee, taker_fee ON markets_symbol FOR EACH ROW
    WHEN (OLD.maker_fee <> NEW.maker_fee OR OLD.taker_fee <> NEW.taker_fee) EXECUTE FUNCTION markets_refuse_fees();
"""

REVERSE = """
DROP TRIGGER symbol_fees_approved ON markets_symbol;
DROP FUNCTION markets_refuse_fees();
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0005_phases"), ("institutions", "0005_change_requests")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

"""Every account has its row of counters from the moment it exists, so that intake never has to make one under its lock."""

from django.db import migrations

SQL = """
CREATE FUNCTION risk_account_state() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO risk_accountstate (account_id, open_orders, day_orders, second, second_orders, minute_orders)
    VALUES (NEW.id, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER account_state AFTER INSERT ON institutions_account FOR EACH ROW EXECUTE FUNCTION risk_account_state();
INSERT INTO risk_accountstate (account_id, open_orders, day_orders, second, second_orders, minute_orders)
    SELECT id, 0, 0, 0, 0, 0 FROM institutions_account ON CONFLICT DO NOTHING;
ALTER TABLE risk_accountstate SET (fillfactor = 30, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

INSERT INTO risk_limit (kind, value) VALUES
    ('ORDER_VALUE', 1000000), ('OPEN_ORDERS', 500), ('DAILY_ORDERS', 10000), ('ORDERS_PER_SECOND', 10), ('ORDERS_PER_MINUTE', 100);
"""

REVERSE = """
DELETE FROM risk_limit;
DROP TRIGGER account_state ON institutions_account;
DROP FUNCTION risk_account_state();
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0001_initial"), ("institutions", "0002_integrity")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

"""What an account has been told is never taken back, and a queue that is always nearly empty stays small."""

from django.db import migrations

SQL = """
CREATE FUNCTION notifications_never_back() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '%: a sequence never goes back', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER feed_never_back BEFORE UPDATE ON notifications_feed FOR EACH ROW
    WHEN (NEW.orders < OLD.orders OR NEW.trades < OLD.trades OR NEW.balances < OLD.balances)
    EXECUTE FUNCTION notifications_never_back();
SELECT exchange_keep('notifications_feed', 'account_id');
ALTER TABLE notifications_feed SET (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 50000);
ALTER TABLE notifications_outbox SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 1000000);
"""

REVERSE = """
SELECT exchange_keep_no_longer('notifications_feed');
DROP TRIGGER feed_never_back ON notifications_feed;
DROP FUNCTION notifications_never_back();
"""


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_initial"), ("exchange_platform", "0001_roles")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

"""An institution sees how far the channels of its own accounts have come."""

from django.db import migrations

SQL = "SELECT exchange_tenant_policy('notifications_feed', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);"

REVERSE = """
DROP POLICY tenant ON notifications_feed;
DROP POLICY engine ON notifications_feed;
ALTER TABLE notifications_feed NO FORCE ROW LEVEL SECURITY;
ALTER TABLE notifications_feed DISABLE ROW LEVEL SECURITY;
"""


class Migration(migrations.Migration):
    dependencies = [("institutions", "0002_integrity"), ("notifications", "0002_integrity")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

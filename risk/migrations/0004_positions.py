"""Positions are seen by their tenants alone, and kept for ever: what was realised stays told when nothing is open."""

from django.db import migrations

SQL = """
SELECT exchange_keep('risk_position', 'account_id', 'symbol_id');
SELECT exchange_tenant_policy('risk_position', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
ALTER TABLE risk_position SET (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
"""

REVERSE = """
DROP POLICY tenant ON risk_position;
DROP POLICY engine ON risk_position;
ALTER TABLE risk_position NO FORCE ROW LEVEL SECURITY;
ALTER TABLE risk_position DISABLE ROW LEVEL SECURITY;
SELECT exchange_keep_no_longer('risk_position');
"""


class Migration(migrations.Migration):
    dependencies = [("risk", "0003_phases")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

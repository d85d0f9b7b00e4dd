"""What a month of transfers comes to, by account and asset, from when the month is closed."""

import exchange_platform.fields
from django.db import migrations, models

SQL = """
SELECT exchange_maintenance_only('wallet_carriedsum');

-- Every transfer gives what it takes, so the sums of a whole month come to nothing in every asset. A month is written by one statement.
CREATE FUNCTION wallet_carriedsum_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT month, asset_id, sum(amount) AS amount INTO wrong FROM added GROUP BY month, asset_id HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'sums of %: asset % comes to %, not to nothing', wrong.month, wrong.asset_id, wrong.amount
            USING ERRCODE = 'check_violation';
    END IF;
    SELECT a.month, a.asset_id INTO wrong FROM added a JOIN wallet_carriedsum c USING (month)
    WHERE NOT EXISTS (SELECT 1 FROM added n WHERE (n.month, n.account_id, n.asset_id) = (c.month, c.account_id, c.asset_id)) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'sums of %: the month was carried forward before', wrong.month USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER carriedsum_check AFTER INSERT ON wallet_carriedsum REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION wallet_carriedsum_check();
"""

REVERSE = """
DROP TRIGGER carriedsum_check ON wallet_carriedsum;
DROP FUNCTION wallet_carriedsum_check();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('wallet', '0002_ledger'),
        ('exchange_platform', '0002_retention'),
    ]

    operations = [
        migrations.CreateModel(
            name='CarriedSum',
            fields=[
                ('pk', models.CompositePrimaryKey('month', 'account_id', 'asset_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('month', models.DateField()),
                ('account_id', models.BigIntegerField()),
                ('asset_id', models.SmallIntegerField()),
                ('amount', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('transfers', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('amount__gt', -100000000000000000000), ('amount__lt', 100000000000000000000)), name='carried_amount_sane'), models.CheckConstraint(condition=models.Q(('transfers__gt', 0)), name='carried_has_transfers'), models.CheckConstraint(condition=models.Q(('month__day', 1)), name='carried_month_begins')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

"""What pre-trade limits are held against: what is open and traded per account and symbol, positions as they began the day, results per day,
a score per account; and which symbols somebody may trade."""

import django.db.models.deletion
import exchange_platform.fields
from django.db import migrations, models

SQL = """
SELECT exchange_keep('risk_exposure', 'account_id', 'symbol_id');
SELECT exchange_tenant_policy('risk_exposure', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
ALTER TABLE risk_exposure SET (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);
SELECT exchange_keep('risk_dayresult', 'account_id', 'day');
SELECT exchange_tenant_policy('risk_dayresult', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
ALTER TABLE risk_dayresult SET (fillfactor = 70);

INSERT INTO risk_limit (kind, value) VALUES ('MAX_POSITION', 10), ('DAILY_LOSS', 5000), ('DRAWDOWN', 10);
"""

REVERSE = """
DELETE FROM risk_limit WHERE kind IN ('MAX_POSITION', 'DAILY_NOTIONAL', 'DAILY_LOSS', 'DRAWDOWN', 'MIN_BALANCE', 'MAX_SCORE');
DROP POLICY tenant ON risk_dayresult;
DROP POLICY engine ON risk_dayresult;
ALTER TABLE risk_dayresult NO FORCE ROW LEVEL SECURITY;
ALTER TABLE risk_dayresult DISABLE ROW LEVEL SECURITY;
SELECT exchange_keep_no_longer('risk_dayresult');
DROP POLICY tenant ON risk_exposure;
DROP POLICY engine ON risk_exposure;
ALTER TABLE risk_exposure NO FORCE ROW LEVEL SECURITY;
ALTER TABLE risk_exposure DISABLE ROW LEVEL SECURITY;
SELECT exchange_keep_no_longer('risk_exposure');
"""


class Migration(migrations.Migration):

    dependencies = [
        ('institutions', '0004_audit_search'),
        ('risk', '0004_positions'),
    ]

    operations = [
        migrations.CreateModel(
            name='DayResult',
            fields=[
                ('pk', models.CompositePrimaryKey('account_id', 'day', blank=True, editable=False, primary_key=True, serialize=False)),
                ('account_id', models.BigIntegerField()),
                ('day', models.DateField()),
                ('opening', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('latest', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('peak', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('high', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('equity', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('seen_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='Exposure',
            fields=[
                ('pk', models.CompositePrimaryKey('account_id', 'symbol_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('account_id', models.BigIntegerField()),
                ('symbol_id', models.IntegerField()),
                ('buying', exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38)),
                ('spending', exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38)),
                ('open_value', exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38)),
                ('day', models.DateField(null=True)),
                ('traded', exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38)),
            ],
        ),
        migrations.CreateModel(
            name='SymbolRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rule', models.CharField(choices=[('ALLOWED', 'Allowed'), ('BLOCKED', 'Blocked')], max_length=7)),
                ('symbol_id', models.IntegerField()),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='limit',
            name='limit_kind_known',
        ),
        migrations.AddField(
            model_name='accountstate',
            name='score',
            field=models.DecimalField(db_default=0, decimal_places=3, max_digits=4),
        ),
        migrations.AddField(
            model_name='position',
            name='day',
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name='position',
            name='opening_cost',
            field=exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38),
        ),
        migrations.AddField(
            model_name='position',
            name='opening_quantity',
            field=exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38),
        ),
        migrations.AddField(
            model_name='position',
            name='opening_realised',
            field=exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38),
        ),
        migrations.AlterField(
            model_name='limit',
            name='kind',
            field=models.CharField(choices=[('ORDER_VALUE', 'Order Value'), ('OPEN_ORDERS', 'Open Orders'), ('DAILY_ORDERS', 'Daily Orders'), ('ORDERS_PER_SECOND', 'Orders Per Second'), ('ORDERS_PER_MINUTE', 'Orders Per Minute'), ('MAX_POSITION', 'Max Position'), ('DAILY_NOTIONAL', 'Daily Notional'), ('DAILY_LOSS', 'Daily Loss'), ('DRAWDOWN', 'Drawdown'), ('MIN_BALANCE', 'Min Balance'), ('MAX_SCORE', 'Max Score')], max_length=20),
        ),
        migrations.AddConstraint(
            model_name='accountstate',
            constraint=models.CheckConstraint(condition=models.Q(('score__gte', 0), ('score__lte', 1)), name='accountstate_score_sane'),
        ),
        migrations.AddConstraint(
            model_name='limit',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['ORDER_VALUE', 'OPEN_ORDERS', 'DAILY_ORDERS', 'ORDERS_PER_SECOND', 'ORDERS_PER_MINUTE', 'MAX_POSITION', 'DAILY_NOTIONAL', 'DAILY_LOSS', 'DRAWDOWN', 'MIN_BALANCE', 'MAX_SCORE'])), name='limit_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='position',
            constraint=models.CheckConstraint(condition=models.Q(('opening_quantity__gt', -100000000000000000000), ('opening_quantity__lt', 100000000000000000000)), name='position_opening_quantity_sane'),
        ),
        migrations.AddConstraint(
            model_name='position',
            constraint=models.CheckConstraint(condition=models.Q(('opening_cost__gte', 0), ('opening_cost__lt', 100000000000000000000)), name='position_opening_cost_sane'),
        ),
        migrations.AddConstraint(
            model_name='position',
            constraint=models.CheckConstraint(condition=models.Q(('opening_realised__gt', -100000000000000000000), ('opening_realised__lt', 100000000000000000000)), name='position_opening_realised_sane'),
        ),
        migrations.AddIndex(
            model_name='dayresult',
            index=models.Index(fields=['day'], name='dayresult_by_day'),
        ),
        migrations.AddConstraint(
            model_name='dayresult',
            constraint=models.CheckConstraint(condition=models.Q(('peak__gte', models.F('opening')), ('peak__gte', models.F('latest')), ('high__gte', models.F('peak'))), name='dayresult_peak_is_highest'),
        ),
        migrations.AddConstraint(
            model_name='dayresult',
            constraint=models.CheckConstraint(condition=models.Q(('high__gt', -100000000000000000000), ('high__lt', 100000000000000000000), ('latest__gt', -100000000000000000000), ('latest__lt', 100000000000000000000), ('opening__gt', -100000000000000000000), ('opening__lt', 100000000000000000000), ('peak__gt', -100000000000000000000), ('peak__lt', 100000000000000000000)), name='dayresult_sane'),
        ),
        migrations.AddConstraint(
            model_name='dayresult',
            constraint=models.CheckConstraint(condition=models.Q(('equity__gte', 0), ('equity__lt', 100000000000000000000)), name='dayresult_equity_sane'),
        ),
        migrations.AddConstraint(
            model_name='exposure',
            constraint=models.CheckConstraint(condition=models.Q(('buying__gte', 0), ('buying__lt', 100000000000000000000)), name='exposure_buying_sane'),
        ),
        migrations.AddConstraint(
            model_name='exposure',
            constraint=models.CheckConstraint(condition=models.Q(('spending__gte', 0), ('spending__lt', 100000000000000000000)), name='exposure_spending_sane'),
        ),
        migrations.AddConstraint(
            model_name='exposure',
            constraint=models.CheckConstraint(condition=models.Q(('open_value__gte', 0), ('open_value__lt', 100000000000000000000)), name='exposure_open_value_sane'),
        ),
        migrations.AddConstraint(
            model_name='exposure',
            constraint=models.CheckConstraint(condition=models.Q(('traded__gte', 0), ('traded__lt', 100000000000000000000)), name='exposure_traded_sane'),
        ),
        migrations.AddField(
            model_name='symbolrule',
            name='account',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='institutions.account'),
        ),
        migrations.AddField(
            model_name='symbolrule',
            name='institution',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='institutions.institution'),
        ),
        migrations.AddConstraint(
            model_name='symbolrule',
            constraint=models.CheckConstraint(condition=models.Q(('rule__in', ['ALLOWED', 'BLOCKED'])), name='symbolrule_known'),
        ),
        migrations.AddConstraint(
            model_name='symbolrule',
            constraint=models.CheckConstraint(condition=models.Q(('institution', None), ('account', None), _connector='OR'), name='symbolrule_names_one'),
        ),
        migrations.AddConstraint(
            model_name='symbolrule',
            constraint=models.UniqueConstraint(fields=('institution', 'account', 'symbol_id'), name='symbolrule_once_per_scope', nulls_distinct=False),
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

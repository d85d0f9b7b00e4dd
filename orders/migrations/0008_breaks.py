"""Breaks stay, with what they were when they were found; they are resolved once, when they are not seen any more."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SQL = """
SELECT exchange_keep('orders_break', 'id', 'check_name', 'table_name', 'row_key', 'touches_funds', 'asset_id', 'symbol_id', 'account_id',
    'first_seen_at');
CREATE FUNCTION orders_break_over() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'break %: what was resolved stays so, what is gone does not come back, and nobody unsees it', OLD.id
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER stays_over BEFORE UPDATE ON orders_break FOR EACH ROW
    WHEN (OLD.state = 'RESOLVED' AND OLD.* IS DISTINCT FROM NEW.*
          OR OLD.gone_at IS NOT NULL AND (OLD.gone_at, OLD.last_seen_at, OLD.expected, OLD.found, OLD.sentence)
              IS DISTINCT FROM (NEW.gone_at, NEW.last_seen_at, NEW.expected, NEW.found, NEW.sentence)
          OR NEW.last_seen_at < OLD.last_seen_at)
    EXECUTE FUNCTION orders_break_over();
CREATE TRIGGER begins_open BEFORE INSERT ON orders_break FOR EACH ROW WHEN (NEW.state <> 'OPEN' OR NEW.gone_at IS NOT NULL)
    EXECUTE FUNCTION orders_break_over();

-- Halts that nobody commanded: each has an alert (orders.halts).
CREATE INDEX symbolstatus_automatic_halt ON orders_symbolstatus (at) WHERE status = 'HALTED' AND cause <> 'COMMAND';
"""

REVERSE = """
DROP INDEX symbolstatus_automatic_halt;
DROP TRIGGER begins_open ON orders_break;
DROP TRIGGER stays_over ON orders_break;
DROP FUNCTION orders_break_over();
SELECT exchange_keep_no_longer('orders_break');
"""


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0007_carried_positions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Break',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('check_name', models.CharField(max_length=40)),
                ('table_name', models.CharField(max_length=63)),
                ('row_key', models.CharField(max_length=400)),
                ('expected', models.TextField()),
                ('found', models.TextField()),
                ('sentence', models.TextField()),
                ('touches_funds', models.BooleanField()),
                ('asset_id', models.IntegerField(null=True)),
                ('symbol_id', models.IntegerField(null=True)),
                ('account_id', models.BigIntegerField(null=True)),
                ('halted', models.JSONField(default=list)),
                ('first_seen_at', models.DateTimeField()),
                ('last_seen_at', models.DateTimeField()),
                ('gone_at', models.DateTimeField(null=True)),
                ('state', models.CharField(choices=[('OPEN', 'OPEN'), ('RESOLVED', 'RESOLVED')], db_default='OPEN', max_length=8)),
                ('resolution', models.TextField(db_default='')),
                ('resolved_by', models.CharField(db_default='', max_length=80)),
                ('resolved_at', models.DateTimeField(null=True)),
                ('owner', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state', 'OPEN')), fields=['id'], name='break_open')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('gone_at__isnull', True)), fields=('check_name', 'table_name', 'row_key'), name='break_once_while_seen'), models.CheckConstraint(condition=models.Q(models.Q(('resolution', ''), ('resolved_at__isnull', True), ('resolved_by', ''), ('state', 'OPEN')), models.Q(('resolved_at__isnull', False), ('state', 'RESOLVED'), models.Q(('resolution', ''), _negated=True), models.Q(('resolved_by', ''), _negated=True)), _connector='OR'), name='break_resolved_says_how'), models.CheckConstraint(condition=models.Q(('state', 'OPEN'), ('gone_at__isnull', False), _connector='OR'), name='break_resolved_is_gone'), models.CheckConstraint(condition=models.Q(('last_seen_at__gte', models.F('first_seen_at'))), name='break_seen_in_order')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

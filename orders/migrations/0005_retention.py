"""Anchors of the command log, closed months, what they carry forward, and the register of partitions that have left."""

from django.db import migrations, models

SQL = """
ALTER TABLE orders_anchor ADD CONSTRAINT anchor_hashes_sane
    CHECK (octet_length(chain) = 32 AND state_hash >= 0 AND state_hash < 18446744073709551616);
SELECT exchange_append_only('orders_anchor');

-- An anchor says what the log says; where it lets the log begin, only maintenance sets it.
CREATE FUNCTION orders_anchor_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    entry record;
BEGIN
    IF NEW.kind = 'DETACHED' AND NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
        RAISE EXCEPTION 'anchor of symbol % at %: only maintenance lets a log begin', NEW.symbol_id, NEW.sequence
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT last_sequence, chain, state_hash, stamp_ms INTO entry FROM orders_commandlog
    WHERE symbol_id = NEW.symbol_id AND first_sequence <= NEW.sequence ORDER BY first_sequence DESC LIMIT 1;
    IF (entry.last_sequence, entry.chain, entry.state_hash, entry.stamp_ms)
            IS DISTINCT FROM (NEW.sequence, NEW.chain, NEW.state_hash, NEW.stamp_ms) THEN
        RAISE EXCEPTION 'anchor of symbol % at %: no entry of the log says the same', NEW.symbol_id, NEW.sequence
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER anchor_check BEFORE INSERT ON orders_anchor FOR EACH ROW EXECUTE FUNCTION orders_anchor_check();

SELECT exchange_maintenance_only('orders_closedmonth');
SELECT exchange_maintenance_only('orders_carriedtrade');
SELECT exchange_maintenance_only('orders_archivedpartition');

CREATE FUNCTION orders_closedmonth_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    last date := (SELECT max(month) FROM orders_closedmonth);
    bound uuid := exchange_uuid_from((NEW.month + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF NEW.month <> last + interval '1 month' THEN
        RAISE EXCEPTION 'month % cannot be closed after %: months are closed one after the other', NEW.month, last
            USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.month + interval '2 months') AT TIME ZONE 'UTC' > now() THEN
        RAISE EXCEPTION 'month % cannot be closed: it is too young', NEW.month USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT 1 FROM orders_openorder WHERE order_id < bound) THEN
        RAISE EXCEPTION 'month % cannot be closed: an order of then is open', NEW.month USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER closedmonth_check BEFORE INSERT ON orders_closedmonth FOR EACH ROW EXECUTE FUNCTION orders_closedmonth_check();
"""

REVERSE = """
DROP TRIGGER closedmonth_check ON orders_closedmonth;
DROP FUNCTION orders_closedmonth_check();
DROP TRIGGER anchor_check ON orders_anchor;
DROP FUNCTION orders_anchor_check();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0004_phases_integrity'),
        ('exchange_platform', '0002_retention'),
    ]

    operations = [
        migrations.CreateModel(
            name='Anchor',
            fields=[
                ('pk', models.CompositePrimaryKey('symbol_id', 'sequence', 'kind', blank=True, editable=False, primary_key=True, serialize=False)),
                ('symbol_id', models.IntegerField()),
                ('sequence', models.BigIntegerField()),
                ('kind', models.CharField(choices=[('VERIFIED', 'Verified'), ('DETACHED', 'Detached')], max_length=8)),
                ('chain', models.BinaryField()),
                ('state_hash', models.DecimalField(decimal_places=0, max_digits=20)),
                ('stamp_ms', models.BigIntegerField()),
                ('trade_number', models.BigIntegerField()),
                ('payload', models.BinaryField(null=True)),
                ('at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('kind__in', ['VERIFIED', 'DETACHED'])), name='anchor_kind_known'), models.CheckConstraint(condition=models.Q(('sequence__gt', 0), ('trade_number__gte', 0)), name='anchor_sane')],
            },
        ),
        migrations.CreateModel(
            name='ArchivedPartition',
            fields=[
                ('name', models.CharField(max_length=63, primary_key=True, serialize=False)),
                ('parent', models.CharField(max_length=63)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField()),
                ('rows', models.BigIntegerField()),
                ('detached_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('ends_at__gt', models.F('starts_at'))), name='archived_partition_lasts'), models.CheckConstraint(condition=models.Q(('rows__gte', 0)), name='archived_rows_not_negative')],
            },
        ),
        migrations.CreateModel(
            name='CarriedTrade',
            fields=[
                ('pk', models.CompositePrimaryKey('month', 'symbol_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('month', models.DateField()),
                ('symbol_id', models.IntegerField()),
                ('number', models.BigIntegerField()),
                ('sequence', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('number__gt', 0), ('sequence__gt', 0)), name='carried_trade_sane'), models.CheckConstraint(condition=models.Q(('month__day', 1)), name='carried_trade_month_begins')],
            },
        ),
        migrations.CreateModel(
            name='ClosedMonth',
            fields=[
                ('month', models.DateField(primary_key=True, serialize=False)),
                ('orders', models.BigIntegerField()),
                ('transitions', models.BigIntegerField()),
                ('trades', models.BigIntegerField()),
                ('transfers', models.BigIntegerField()),
                ('closed_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('month__day', 1)), name='closed_month_begins'), models.CheckConstraint(condition=models.Q(('orders__gte', 0), ('trades__gte', 0), ('transfers__gte', 0), ('transitions__gte', 0)), name='closed_counts_not_negative')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

"""What surveillance keeps. Institutions see none of it: these tables have no policy for the tenants' role."""

import django.db.models.deletion
import django.db.models.functions.datetime
import exchange_platform.fields
from django.db import migrations, models


SQL = """
SELECT exchange_append_only('risk_signal');
SELECT exchange_append_only('risk_portfoliosnapshot');
SELECT exchange_keep('risk_watermark', 'name');
SELECT exchange_keep('risk_accountlink', 'id', 'account_id', 'other_id', 'reason', 'actor', 'created_at');
SELECT exchange_keep('risk_watchedmark', 'id', 'mark', 'reason', 'actor', 'created_at');

-- What was judged is judged.
CREATE FUNCTION risk_watermark_never_back() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'watermark % never goes back', OLD.name USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER watermark_never_back BEFORE UPDATE ON risk_watermark FOR EACH ROW WHEN (NEW.position < OLD.position)
    EXECUTE FUNCTION risk_watermark_never_back();

-- What has ended stays ended; a new one is made instead.
CREATE FUNCTION risk_ended_for_good() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% %: it has ended for good', TG_TABLE_NAME, OLD.id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ended_for_good BEFORE UPDATE ON risk_accountlink FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL)
    EXECUTE FUNCTION risk_ended_for_good();
CREATE TRIGGER ended_for_good BEFORE UPDATE ON risk_watchedmark FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL)
    EXECUTE FUNCTION risk_ended_for_good();

-- Instead of foreign keys on tables without one.
CREATE FUNCTION risk_known_account() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM institutions_account a WHERE a.id = NEW.account_id) THEN
        RAISE EXCEPTION '%: there is no account %', TG_TABLE_NAME, NEW.account_id USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER known_account BEFORE INSERT ON risk_signal FOR EACH ROW EXECUTE FUNCTION risk_known_account();
CREATE TRIGGER known_account BEFORE INSERT ON risk_portfoliosnapshot FOR EACH ROW EXECUTE FUNCTION risk_known_account();
"""

REVERSE = """
DROP TRIGGER known_account ON risk_portfoliosnapshot;
DROP TRIGGER known_account ON risk_signal;
DROP FUNCTION risk_known_account();
DROP TRIGGER ended_for_good ON risk_watchedmark;
DROP TRIGGER ended_for_good ON risk_accountlink;
DROP FUNCTION risk_ended_for_good();
DROP TRIGGER watermark_never_back ON risk_watermark;
DROP FUNCTION risk_watermark_never_back();
SELECT exchange_keep_no_longer('risk_watchedmark');
SELECT exchange_keep_no_longer('risk_accountlink');
SELECT exchange_keep_no_longer('risk_watermark');
DROP TRIGGER append_only_truncate ON risk_portfoliosnapshot;
DROP TRIGGER append_only ON risk_portfoliosnapshot;
DROP TRIGGER append_only_truncate ON risk_signal;
DROP TRIGGER append_only ON risk_signal;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('institutions', '0005_change_requests'),
        ('risk', '0006_alerts'),
    ]

    operations = [
        migrations.CreateModel(
            name='Watermark',
            fields=[
                ('name', models.CharField(max_length=60, primary_key=True, serialize=False)),
                ('position', models.UUIDField()),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='PortfolioSnapshot',
            fields=[
                ('pk', models.CompositePrimaryKey('account_id', 'at', blank=True, editable=False, primary_key=True, serialize=False)),
                ('account_id', models.BigIntegerField()),
                ('at', models.DateTimeField()),
                ('equity', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('inflow', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('peak_gain', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('var_historical', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('var_parametric', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('var_periods', models.IntegerField()),
                ('concentration', models.DecimalField(decimal_places=6, max_digits=7)),
                ('concentrated_in', models.CharField(max_length=20)),
                ('drawdown', models.DecimalField(decimal_places=6, max_digits=7)),
                ('daily_loss', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
            ],
            options={
                'indexes': [models.Index(fields=['at'], name='snapshot_by_time')],
                'constraints': [models.CheckConstraint(condition=models.Q(('equity__gt', -100000000000000000000), ('equity__lt', 100000000000000000000)), name='snapshot_equity_sane'), models.CheckConstraint(condition=models.Q(('inflow__gt', -100000000000000000000), ('inflow__lt', 100000000000000000000)), name='snapshot_inflow_sane'), models.CheckConstraint(condition=models.Q(('peak_gain__gt', -100000000000000000000), ('peak_gain__lt', 100000000000000000000)), name='snapshot_peak_sane'), models.CheckConstraint(condition=models.Q(('var_historical__gte', 0), ('var_historical__lt', 100000000000000000000)), name='snapshot_var_historical_sane'), models.CheckConstraint(condition=models.Q(('var_parametric__gte', 0), ('var_parametric__lt', 100000000000000000000)), name='snapshot_var_parametric_sane'), models.CheckConstraint(condition=models.Q(('daily_loss__gte', 0), ('daily_loss__lt', 100000000000000000000)), name='snapshot_daily_loss_sane'), models.CheckConstraint(condition=models.Q(('concentration__gte', 0), ('concentration__lte', 1)), name='snapshot_concentration_is_a_share'), models.CheckConstraint(condition=models.Q(('drawdown__gte', 0), ('drawdown__lte', 1)), name='snapshot_drawdown_is_a_share')],
            },
        ),
        migrations.CreateModel(
            name='Signal',
            fields=[
                ('pk', models.CompositePrimaryKey('account_id', 'dedupe_key', blank=True, editable=False, primary_key=True, serialize=False)),
                ('account_id', models.BigIntegerField()),
                ('dedupe_key', models.CharField(max_length=200)),
                ('kind', models.CharField(max_length=40)),
                ('severity', models.CharField(max_length=8)),
                ('score', models.DecimalField(decimal_places=2, max_digits=3)),
                ('at', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['at'], name='signal_by_time')],
                'constraints': [models.CheckConstraint(condition=models.Q(('score__gte', 0), ('score__lte', 1)), name='signal_score_is_a_share'), models.CheckConstraint(condition=models.Q(('severity__in', ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'])), name='signal_severity_known')],
            },
        ),
        migrations.CreateModel(
            name='WatchedMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('mark', models.CharField(max_length=200)),
                ('reason', models.TextField()),
                ('actor', models.CharField(max_length=80)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ended_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('mark', ''), _negated=True), models.Q(('reason', ''), _negated=True)), name='watchedmark_says_what'), models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('mark',), name='watchedmark_once')],
            },
        ),
        migrations.CreateModel(
            name='AccountLink',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField()),
                ('actor', models.CharField(max_length=80)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ended_at', models.DateTimeField(null=True)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='institutions.account')),
                ('other', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='institutions.account')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('account__lt', models.F('other'))), name='accountlink_in_order'), models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='accountlink_says_why'), models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('account', 'other'), name='accountlink_once')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

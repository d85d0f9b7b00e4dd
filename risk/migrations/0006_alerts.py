"""Alerts: one per key for ever, moves as `risk.alert_states` has them, no change without its history, nothing removed by anybody.

Institutions see none of it: these tables have no policy for the tenants' role.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

MOVES = ("NEW>INVESTIGATING", "NEW>ESCALATED", "NEW>CLOSED", "INVESTIGATING>ESCALATED", "INVESTIGATING>CLOSED", "ESCALATED>INVESTIGATING",
         "ESCALATED>CLOSED", "CLOSED>INVESTIGATING")

SQL = f"""
SELECT exchange_keep('risk_alert', 'id', 'kind', 'severity', 'title', 'dedupe_key', 'institution_id', 'symbol_id', 'score', 'details',
    'raised_at');
SELECT exchange_append_only('risk_alertaccount');
SELECT exchange_append_only('risk_alertevidence');
SELECT exchange_append_only('risk_alertnote');
SELECT exchange_append_only('risk_alerthistory');

CREATE FUNCTION risk_alert_move() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'an alert begins as NEW, with nobody, as number 1' USING ERRCODE = 'check_violation';
    ELSIF NEW.number <> OLD.number + 1 THEN
        RAISE EXCEPTION 'alert %: number % does not follow %', OLD.id, NEW.number, OLD.number USING ERRCODE = 'check_violation';
    END IF;
    RAISE EXCEPTION 'alert %: % to % is not a legal move', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER alert_begin BEFORE INSERT ON risk_alert FOR EACH ROW
    WHEN (NEW.state <> 'NEW' OR NEW.number <> 1 OR NEW.assignee_id IS NOT NULL) EXECUTE FUNCTION risk_alert_move();
CREATE TRIGGER step_is_legal BEFORE UPDATE ON risk_alert FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.* AND NEW.number <> OLD.number + 1
          OR OLD.state <> NEW.state AND NOT (OLD.state || '>' || NEW.state) = ANY (ARRAY[{", ".join(f"'{move}'" for move in MOVES)}]))
    EXECUTE FUNCTION risk_alert_move();

-- Looked at when the transaction ends: by then every step that was taken has its row, and no row tells of a step that was not.
CREATE FUNCTION risk_alert_told() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM risk_alerthistory h WHERE h.alert_id = NEW.id AND h.number = NEW.number AND h.state = NEW.state
                   AND h.assignee_id IS NOT DISTINCT FROM NEW.assignee_id) THEN
        RAISE EXCEPTION 'alert %: its history does not tell of number %, %', NEW.id, NEW.number, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER alert_told AFTER INSERT OR UPDATE ON risk_alert DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION risk_alert_told();
CREATE FUNCTION risk_alerthistory_true() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM risk_alert a WHERE a.id = NEW.alert_id AND a.number >= NEW.number) THEN
        RAISE EXCEPTION 'alert %: nothing has happened that would be number %', NEW.alert_id, NEW.number USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER alerthistory_true AFTER INSERT ON risk_alerthistory DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION risk_alerthistory_true();
"""

REVERSE = """
DROP TRIGGER alerthistory_true ON risk_alerthistory;
DROP FUNCTION risk_alerthistory_true();
DROP TRIGGER alert_told ON risk_alert;
DROP FUNCTION risk_alert_told();
DROP TRIGGER step_is_legal ON risk_alert;
DROP TRIGGER alert_begin ON risk_alert;
DROP FUNCTION risk_alert_move();
SELECT exchange_keep_no_longer('risk_alert');
"""


class Migration(migrations.Migration):

    dependencies = [
        ('institutions', '0005_change_requests'),
        ('risk', '0005_pretrade'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=40)),
                ('severity', models.CharField(choices=[('LOW', 'LOW'), ('MEDIUM', 'MEDIUM'), ('HIGH', 'HIGH'), ('CRITICAL', 'CRITICAL')], max_length=8)),
                ('title', models.CharField(max_length=300)),
                ('dedupe_key', models.CharField(max_length=200, unique=True)),
                ('symbol_id', models.IntegerField(null=True)),
                ('score', models.DecimalField(decimal_places=6, max_digits=7, null=True)),
                ('details', models.JSONField()),
                ('raised_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('state', models.CharField(choices=[('NEW', 'NEW'), ('INVESTIGATING', 'INVESTIGATING'), ('ESCALATED', 'ESCALATED'), ('CLOSED', 'CLOSED')], db_default='NEW', max_length=13)),
                ('due_at', models.DateTimeField()),
                ('closed_at', models.DateTimeField(null=True)),
                ('close_reason', models.TextField(db_default='')),
                ('number', models.IntegerField(db_default=1)),
                ('assignee', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('institution', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='institutions.institution')),
            ],
        ),
        migrations.CreateModel(
            name='AlertAccount',
            fields=[
                ('pk', models.CompositePrimaryKey('account_id', 'alert_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='institutions.account')),
                ('alert', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='accounts', to='risk.alert')),
            ],
        ),
        migrations.CreateModel(
            name='AlertEvidence',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=12)),
                ('reference', models.CharField(max_length=120)),
                ('actor', models.CharField(max_length=80)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('alert', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='evidence', to='risk.alert')),
            ],
        ),
        migrations.CreateModel(
            name='AlertHistory',
            fields=[
                ('pk', models.CompositePrimaryKey('alert_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('number', models.IntegerField()),
                ('change', models.CharField(max_length=10)),
                ('state', models.CharField(max_length=13)),
                ('actor', models.CharField(max_length=80)),
                ('reason', models.TextField(db_default='')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('alert', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='history', to='risk.alert')),
                ('assignee', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': [models.OrderBy(models.F('number'))],
            },
        ),
        migrations.CreateModel(
            name='AlertNote',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('author', models.CharField(max_length=80)),
                ('text', models.TextField()),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('alert', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='notes', to='risk.alert')),
            ],
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(condition=models.Q(('state', 'CLOSED'), _negated=True), fields=['severity', 'due_at'], name='alert_open'),
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(fields=['kind', 'id'], name='alert_by_kind'),
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(fields=['symbol_id', 'id'], name='alert_by_symbol'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['NEW', 'INVESTIGATING', 'ESCALATED', 'CLOSED'])), name='alert_state_known'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('severity__in', ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'])), name='alert_severity_known'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('score__gte', 0), ('score__lte', 1)), name='alert_score_is_a_share'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', ''), _negated=True), models.Q(('title', ''), _negated=True), models.Q(('dedupe_key', ''), _negated=True)), name='alert_says_what'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('closed_at__isnull', False), ('state', 'CLOSED'), models.Q(('close_reason', ''), _negated=True)), models.Q(models.Q(('state', 'CLOSED'), _negated=True), ('close_reason', ''), ('closed_at__isnull', True)), _connector='OR'), name='alert_closed_says_why'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['NEW', 'CLOSED']), ('assignee__isnull', False), _connector='OR'), name='alert_worked_by_somebody'),
        ),
        migrations.AddIndex(
            model_name='alertevidence',
            index=models.Index(fields=['kind', 'reference'], name='evidence_by_reference'),
        ),
        migrations.AddConstraint(
            model_name='alertevidence',
            constraint=models.UniqueConstraint(fields=('alert', 'kind', 'reference'), name='evidence_once'),
        ),
        migrations.AddConstraint(
            model_name='alertevidence',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['order', 'trade', 'transfer', 'withdrawal', 'break', 'symbol']), models.Q(('reference', ''), _negated=True)), name='evidence_points_at_something'),
        ),
        migrations.AddConstraint(
            model_name='alerthistory',
            constraint=models.CheckConstraint(condition=models.Q(('number__gt', 0), models.Q(('actor', ''), _negated=True)), name='alert_history_sane'),
        ),
        migrations.AddConstraint(
            model_name='alerthistory',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('change', 'RAISED'), ('number', 1)), ('number__gt', 1), _connector='OR'), name='alert_history_begins'),
        ),
        migrations.AddConstraint(
            model_name='alertnote',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('text', ''), _negated=True), models.Q(('author', ''), _negated=True)), name='alert_note_says_something'),
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

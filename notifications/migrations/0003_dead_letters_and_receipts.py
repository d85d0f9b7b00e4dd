"""Dead letters stay, and are settled once; what a consumer has applied it can know for longer than any sink could tell it again."""

import django.db.models.functions.datetime
from django.db import migrations, models

SETTLED_BY_HAND = "UPDATE notifications_deadletter SET settled_by = 'unknown' WHERE settled_at IS NOT NULL AND settled_by = ''"
OPENED_BY_HAND = "UPDATE notifications_deadletter SET settled_by = '' WHERE settled_at IS NULL AND settled_by <> ''"

SQL = """
CREATE FUNCTION notifications_settled_once() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'dead letter %: it has been settled', OLD.id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER dead_letter_settled_once BEFORE UPDATE ON notifications_deadletter FOR EACH ROW
    WHEN (OLD.settled_at IS NOT NULL AND ROW(OLD.settled_at, OLD.settled_by, OLD.sent_again_as)
        IS DISTINCT FROM ROW(NEW.settled_at, NEW.settled_by, NEW.sent_again_as))
    EXECUTE FUNCTION notifications_settled_once();
SELECT exchange_keep('notifications_deadletter', 'id', 'outbox_id', 'topic', 'stream', 'events', 'payload', 'created_at', 'failed_at',
    'attempts', 'error');

CREATE TRIGGER position_never_back BEFORE UPDATE ON notifications_consumerposition FOR EACH ROW
    WHEN (NEW.sequence < OLD.sequence OR NEW.consumer <> OLD.consumer OR NEW.stream <> OLD.stream)
    EXECUTE FUNCTION notifications_never_back();
CREATE FUNCTION notifications_keep_receipt() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: the event may be delivered again', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER receipt_unchanged BEFORE UPDATE ON notifications_receipt FOR EACH ROW EXECUTE FUNCTION notifications_keep_receipt();
CREATE TRIGGER receipt_kept BEFORE DELETE ON notifications_receipt FOR EACH ROW
    WHEN (OLD.received_at > now() - interval '35 days') EXECUTE FUNCTION notifications_keep_receipt();
CREATE TRIGGER receipt_no_truncate BEFORE TRUNCATE ON notifications_receipt FOR EACH STATEMENT EXECUTE FUNCTION notifications_keep_receipt();
CREATE TRIGGER position_kept BEFORE DELETE ON notifications_consumerposition FOR EACH ROW EXECUTE FUNCTION notifications_keep_receipt();
CREATE TRIGGER position_no_truncate BEFORE TRUNCATE ON notifications_consumerposition
    FOR EACH STATEMENT EXECUTE FUNCTION notifications_keep_receipt();
CREATE INDEX receipt_by_age ON notifications_receipt USING brin (received_at);
ALTER TABLE notifications_consumerposition SET (fillfactor = 50);
"""

REVERSE = """
DROP TRIGGER position_no_truncate ON notifications_consumerposition;
DROP TRIGGER position_kept ON notifications_consumerposition;
DROP TRIGGER position_never_back ON notifications_consumerposition;
DROP TRIGGER receipt_no_truncate ON notifications_receipt;
DROP TRIGGER receipt_kept ON notifications_receipt;
DROP TRIGGER receipt_unchanged ON notifications_receipt;
DROP FUNCTION notifications_keep_receipt();
SELECT exchange_keep_no_longer('notifications_deadletter');
DROP TRIGGER dead_letter_settled_once ON notifications_deadletter;
DROP FUNCTION notifications_settled_once();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0002_integrity'),
    ]

    operations = [
        migrations.RunSQL([SETTLED_BY_HAND, OPENED_BY_HAND], migrations.RunSQL.noop),
        migrations.CreateModel(
            name='ConsumerPosition',
            fields=[
                ('pk', models.CompositePrimaryKey('consumer', 'stream', blank=True, editable=False, primary_key=True, serialize=False)),
                ('consumer', models.CharField(max_length=60)),
                ('stream', models.CharField(max_length=80)),
                ('sequence', models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='Receipt',
            fields=[
                ('pk', models.CompositePrimaryKey('consumer', 'event_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('consumer', models.CharField(max_length=60)),
                ('event_id', models.CharField(max_length=120)),
                ('received_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.AddField(
            model_name='deadletter',
            name='outbox_id',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='deadletter',
            name='sent_again_as',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name='deadletter',
            index=models.Index(fields=['outbox_id'], name='dead_letter_outbox'),
        ),
        migrations.AddConstraint(
            model_name='deadletter',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('settled_at__isnull', True), ('settled_by', '')), models.Q(('settled_at__isnull', False), models.Q(('settled_by', ''), _negated=True)), _connector='OR'), name='dead_letter_settled_by_somebody'),
        ),
        migrations.AddConstraint(
            model_name='deadletter',
            constraint=models.CheckConstraint(condition=models.Q(('sent_again_as__isnull', True), ('settled_at__isnull', False), _connector='OR'), name='dead_letter_sent_again_is_settled'),
        ),
        migrations.AddConstraint(
            model_name='consumerposition',
            constraint=models.CheckConstraint(condition=models.Q(('sequence__gte', 0)), name='consumer_position_not_negative'),
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

"""Symbols move between shards: the move itself, one sequence of epochs for all shards, and when a command began to wait.

An epoch used to be its shard's own count; a symbol that came to a shard with a lower one could not be settled there.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

SQL = """
CREATE SEQUENCE orders_epoch AS bigint;
SELECT setval('orders_epoch', last) FROM (
    SELECT greatest((SELECT max(epoch) FROM orders_shard), (SELECT max(epoch) FROM orders_checkpoint)) AS last) AS given
WHERE last > 0;

CREATE FUNCTION orders_checkpoint_hands() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'symbol %: goes to another shard only with a higher epoch', OLD.symbol_id USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER checkpoint_hands BEFORE UPDATE ON orders_checkpoint FOR EACH ROW
    WHEN (NEW.shard_id <> OLD.shard_id AND NEW.epoch <= OLD.epoch OR NEW.symbol_id <> OLD.symbol_id)
    EXECUTE FUNCTION orders_checkpoint_hands();

CREATE FUNCTION orders_symbolmove_step() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'move %: % to % is not a step of a move, or what was asked for would change', OLD.id, OLD.state, NEW.state
        USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER symbolmove_step BEFORE UPDATE ON orders_symbolmove FOR EACH ROW
    WHEN (OLD.state <> NEW.state
              AND NOT (OLD.state || '>' || NEW.state) = ANY (ARRAY['REQUESTED>DRAINED', 'REQUESTED>UNDONE', 'DRAINED>DONE', 'DRAINED>UNDONE'])
          OR OLD.ended_at IS NOT NULL AND (OLD.note, OLD.drained_at, OLD.ended_at) IS DISTINCT FROM (NEW.note, NEW.drained_at, NEW.ended_at)
          OR (OLD.symbol_id, OLD.from_shard, OLD.to_shard, OLD.actor, OLD.reason, OLD.requested_at, OLD.overdue_at)
              IS DISTINCT FROM (NEW.symbol_id, NEW.from_shard, NEW.to_shard, NEW.actor, NEW.reason, NEW.requested_at, NEW.overdue_at))
    EXECUTE FUNCTION orders_symbolmove_step();
ALTER TABLE orders_symbolmove
    ADD CONSTRAINT symbolmove_has_a_reason CHECK (btrim(reason) <> '' AND btrim(actor) <> ''),
    ADD CONSTRAINT symbolmove_to_a_shard CHECK (to_shard >= 0);
SELECT exchange_keep('orders_symbolmove', 'id');
"""

REVERSE = """
SELECT exchange_keep_no_longer('orders_symbolmove');
DROP TRIGGER symbolmove_step ON orders_symbolmove;
DROP FUNCTION orders_symbolmove_step();
ALTER TABLE orders_symbolmove DROP CONSTRAINT symbolmove_to_a_shard, DROP CONSTRAINT symbolmove_has_a_reason;
DROP TRIGGER checkpoint_hands ON orders_checkpoint;
DROP FUNCTION orders_checkpoint_hands();
DROP SEQUENCE orders_epoch;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0005_retention'),
    ]

    operations = [
        migrations.AddField(
            model_name='inbox',
            name='created_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        migrations.CreateModel(
            name='SymbolMove',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('symbol_id', models.IntegerField()),
                ('from_shard', models.SmallIntegerField()),
                ('to_shard', models.SmallIntegerField()),
                ('state', models.CharField(default='REQUESTED', max_length=9)),
                ('actor', models.CharField(max_length=80)),
                ('reason', models.TextField()),
                ('note', models.TextField(default='')),
                ('requested_at', models.DateTimeField()),
                ('overdue_at', models.DateTimeField()),
                ('drained_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('symbol_id',), name='symbolmove_one_at_a_time'), models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', True), ('state__in', ['REQUESTED', 'DRAINED'])), models.Q(('ended_at__isnull', False), ('state__in', ['DONE', 'UNDONE'])), _connector='OR'), name='symbolmove_state_known'), models.CheckConstraint(condition=models.Q(('from_shard', models.F('to_shard')), _negated=True), name='symbolmove_goes_elsewhere'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'UNDONE'), _negated=True), models.Q(('note', ''), _negated=True), _connector='OR'), name='symbolmove_undone_says_why')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

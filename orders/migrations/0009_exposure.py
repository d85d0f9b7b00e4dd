"""Amends say what they may add to exposure, checkpoints what the day before ended at, and exposure begins with what is open."""

import exchange_platform.fields
from django.db import migrations, models

# Nothing is under way while this runs: intake and workers of before it know nothing of the counters.
SQL = """
ALTER TABLE orders_checkpoint ADD CONSTRAINT checkpoint_previous_close_sane CHECK (previous_close > 0 AND previous_close < 1e20);

INSERT INTO risk_exposure (account_id, symbol_id, buying, spending, open_value, day, traded)
SELECT account_id, symbol_id, sum(buying), sum(spending), sum(open_value), CASE WHEN sum(traded) > 0 THEN (now() AT TIME ZONE 'UTC')::date END,
       sum(traded)
FROM (
    SELECT o.account_id, o.symbol_id, CASE o.side WHEN 'BUY' THEN coalesce(o.quantity - o.filled_quantity - o.prevented_quantity, 0) ELSE 0 END
               AS buying,
           CASE WHEN o.quantity IS NULL THEN o.quote_quantity ELSE 0 END AS spending,
           CASE WHEN o.quantity IS NULL THEN o.quote_quantity
                ELSE coalesce(o.price, o.protection_price) * (o.quantity - o.filled_quantity - o.prevented_quantity) END AS open_value,
           0 AS traded
    FROM orders_openorder p JOIN orders_order o ON o.id = p.order_id
    UNION ALL
    SELECT account_id, symbol_id, 0, 0, 0, 0 FROM risk_position
    UNION ALL
    SELECT unnest(ARRAY[maker_account_id, taker_account_id]), symbol_id, 0, 0, 0, price * quantity FROM orders_trade
    WHERE id >= exchange_uuid_from(date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')) AS part
GROUP BY account_id, symbol_id;

UPDATE orders_checkpoint c SET previous_close = (
    SELECT t.price FROM orders_trade t WHERE t.symbol_id = c.symbol_id
      AND t.id < exchange_uuid_from(date_trunc('day', c.last_traded_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') ORDER BY t.id DESC LIMIT 1)
WHERE last_traded_at IS NOT NULL;
"""

REVERSE = "ALTER TABLE orders_checkpoint DROP CONSTRAINT checkpoint_previous_close_sane"


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0008_breaks'),
        ('risk', '0005_pretrade'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='amend',
            name='amend_decided_holds_nothing',
        ),
        migrations.AddField(
            model_name='amend',
            name='extra_quantity',
            field=exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38),
        ),
        migrations.AddField(
            model_name='amend',
            name='extra_value',
            field=exchange_platform.fields.Amount(db_default=0, decimal_places=18, max_digits=38),
        ),
        migrations.AddField(
            model_name='checkpoint',
            name='previous_close',
            field=exchange_platform.fields.Amount(decimal_places=18, max_digits=38, null=True),
        ),
        migrations.AddConstraint(
            model_name='amend',
            constraint=models.CheckConstraint(condition=models.Q(('extra_quantity__gte', 0), ('extra_quantity__lt', 100000000000000000000)), name='amend_extra_quantity_sane'),
        ),
        migrations.AddConstraint(
            model_name='amend',
            constraint=models.CheckConstraint(condition=models.Q(('extra_value__gte', 0), ('extra_value__lt', 100000000000000000000)), name='amend_extra_value_sane'),
        ),
        migrations.AddConstraint(
            model_name='amend',
            constraint=models.CheckConstraint(condition=models.Q(('status', 'PENDING'), models.Q(('extra_held', 0), ('extra_quantity', 0), ('extra_value', 0)), _connector='OR'), name='amend_decided_holds_nothing'),
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

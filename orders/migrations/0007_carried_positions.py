"""What positions were at the end of closed months."""

import exchange_platform.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0006_moves'),
    ]

    operations = [
        migrations.CreateModel(
            name='CarriedPosition',
            fields=[
                ('pk', models.CompositePrimaryKey('month', 'account_id', 'symbol_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('month', models.DateField()),
                ('account_id', models.BigIntegerField()),
                ('symbol_id', models.IntegerField()),
                ('quantity', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('cash', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('cash__gt', -100000000000000000000), ('cash__lt', 100000000000000000000), ('quantity__gt', -100000000000000000000), ('quantity__lt', 100000000000000000000)), name='carried_position_sane'), models.CheckConstraint(condition=models.Q(('month__day', 1)), name='carried_position_month_begins')],
            },
        ),
        migrations.RunSQL("SELECT exchange_maintenance_only('orders_carriedposition')", migrations.RunSQL.noop),
    ]

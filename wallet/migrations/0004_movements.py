"""Withdrawals with their addresses and limits, the supply of every asset, and who may move money without a trade."""

import exchange_platform.fields
from django.db import migrations, models

SQL = r"""
-- What has come in of an asset, from the house's accounts of the world outside and of adjustments.
INSERT INTO wallet_supply (asset_id, amount)
SELECT asset_id, sum(amount) FROM (
    SELECT t.asset_id, CASE WHEN t.debit_account_id = a.id THEN t.amount ELSE -t.amount END AS amount
    FROM institutions_account a JOIN wallet_transfer t ON a.id IN (t.debit_account_id, t.credit_account_id)
    WHERE a.kind IN ('EXTERNAL', 'ADJUSTMENT') AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')
      AND t.id >= (SELECT coalesce(exchange_uuid_from((max(month) + interval '1 month') AT TIME ZONE 'UTC'),
                                   '00000000-0000-0000-0000-000000000000') FROM wallet_carriedsum)
    UNION ALL
    SELECT c.asset_id, -c.amount FROM wallet_carriedsum c JOIN institutions_account a ON a.id = c.account_id
    WHERE a.kind IN ('EXTERNAL', 'ADJUSTMENT')) AS part
GROUP BY asset_id;

SELECT exchange_append_only('wallet_withdrawalstep');
SELECT exchange_keep('wallet_supply', 'asset_id');
SELECT exchange_keep('wallet_withdrawallimit', 'asset_id');
SELECT exchange_keep('wallet_address', 'id');
SELECT exchange_keep('wallet_withdrawal', 'id');

-- An address waits from the moment it is listed; nothing of it changes but its end, which comes once.
CREATE FUNCTION wallet_address_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (SELECT FROM institutions_account a WHERE a.id = NEW.account_id AND a.kind = 'CUSTOMER')
           OR NOT EXISTS (SELECT FROM markets_asset s WHERE s.id = NEW.asset_id) THEN
            RAISE EXCEPTION 'address %: unknown account or asset', NEW.id USING ERRCODE = 'foreign_key_violation';
        END IF;
        NEW.added_at := now();
        RETURN NEW;
    END IF;
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    IF ROW(NEW.account_id, NEW.asset_id, NEW.address, NEW.label, NEW.added_by, NEW.added_at, NEW.usable_at)
       IS DISTINCT FROM ROW(OLD.account_id, OLD.asset_id, OLD.address, OLD.label, OLD.added_by, OLD.added_at, OLD.usable_at)
       OR OLD.removed_at IS NOT NULL OR NEW.removed_at IS NULL THEN
        RAISE EXCEPTION 'address %: it stays as it is until it is removed', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    NEW.removed_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER wallet_address_guard BEFORE INSERT OR UPDATE ON wallet_address FOR EACH ROW EXECUTE FUNCTION wallet_address_guard();

-- More without a person takes two people; less takes one.
CREATE FUNCTION wallet_withdrawallimit_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    code text := (SELECT s.code FROM markets_asset s WHERE s.id = NEW.asset_id);
BEGIN
    IF code IS NULL THEN
        RAISE EXCEPTION 'limit: unknown asset %', NEW.asset_id USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF NEW.automatic > coalesce(OLD.automatic, 0)
       AND NOT institutions_approved_now('withdrawal.limit', 'asset:' || code) THEN
        RAISE EXCEPTION 'asset:%: a higher limit takes an approved request', code USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER withdrawallimit_guard BEFORE INSERT OR UPDATE ON wallet_withdrawallimit FOR EACH ROW
    EXECUTE FUNCTION wallet_withdrawallimit_guard();

-- A withdrawal begins to a listed address that has waited, is moved by the table of `wallet.lifecycle`, and is approved by its asset's
-- limit for 24 hours or by two people.
CREATE FUNCTION wallet_withdrawal_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'REQUESTED' OR NEW.is_automatic THEN
            RAISE EXCEPTION 'withdrawal %: it begins REQUESTED', NEW.id USING ERRCODE = 'check_violation';
        END IF;
        IF NOT EXISTS (SELECT FROM institutions_account a WHERE a.id = NEW.account_id AND a.kind = 'CUSTOMER')
           OR NOT EXISTS (SELECT FROM markets_asset s WHERE s.id = NEW.asset_id) THEN
            RAISE EXCEPTION 'withdrawal %: unknown account or asset', NEW.id USING ERRCODE = 'foreign_key_violation';
        END IF;
        IF NOT EXISTS (SELECT FROM wallet_address d WHERE d.id = NEW.address_id AND d.account_id = NEW.account_id
                       AND d.asset_id = NEW.asset_id AND d.removed_at IS NULL AND d.usable_at <= now()
                       AND NOT EXISTS (SELECT FROM wallet_deniedaddress x WHERE x.address = d.address)) THEN
            RAISE EXCEPTION 'withdrawal %: its address is not listed for this account and asset, waits still, or is denied', NEW.id
                USING ERRCODE = 'check_violation';
        END IF;
        NEW.created_at := now();
    ELSIF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    ELSE
        IF ROW(NEW.account_id, NEW.asset_id, NEW.amount, NEW.address_id, NEW.created_at)
           IS DISTINCT FROM ROW(OLD.account_id, OLD.asset_id, OLD.amount, OLD.address_id, OLD.created_at) THEN
            RAISE EXCEPTION 'withdrawal %: what was asked stays as it was asked', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
        IF (OLD.state || '>' || NEW.state) <> ALL (ARRAY['REQUESTED>APPROVED', 'REQUESTED>REJECTED', 'REQUESTED>CANCELLED',
                                                         'APPROVED>COMPLETED', 'APPROVED>FAILED', 'APPROVED>CANCELLED']) THEN
            RAISE EXCEPTION 'withdrawal %: % does not become %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
        END IF;
        NEW.is_automatic := OLD.is_automatic;
        IF NEW.state = 'APPROVED' AND NOT institutions_approved_now('withdrawal.approve', 'withdrawal:' || NEW.id) THEN
            IF NEW.amount + (SELECT coalesce(sum(w.amount), 0) FROM wallet_withdrawal w
                             WHERE w.account_id = NEW.account_id AND w.asset_id = NEW.asset_id AND w.is_automatic
                               AND w.changed_at > now() - interval '24 hours' AND w.state IN ('APPROVED', 'COMPLETED'))
               > (SELECT coalesce(max(l.automatic), 0) FROM wallet_withdrawallimit l WHERE l.asset_id = NEW.asset_id) THEN
                RAISE EXCEPTION 'withdrawal %: more than the automatic limit takes an approved request', NEW.id
                    USING ERRCODE = 'check_violation';
            END IF;
            NEW.is_automatic := true;
        END IF;
    END IF;
    NEW.changed_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER withdrawal_guard BEFORE INSERT OR UPDATE ON wallet_withdrawal FOR EACH ROW EXECUTE FUNCTION wallet_withdrawal_guard();

CREATE FUNCTION wallet_withdrawal_step() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
        RETURN NULL;
    END IF;
    INSERT INTO wallet_withdrawalstep (withdrawal_id, from_state, to_state, actor, note, at)
    VALUES (NEW.id, CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state, NEW.changed_by, NEW.note, now());
    RETURN NULL;
END $$;
CREATE TRIGGER withdrawal_step AFTER INSERT OR UPDATE ON wallet_withdrawal FOR EACH ROW
    EXECUTE FUNCTION wallet_withdrawal_step();

-- Steps are written by that trigger and by nobody else.
CREATE FUNCTION wallet_withdrawalstep_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'a step of a withdrawal is written by its move' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER withdrawalstep_guard BEFORE INSERT ON wallet_withdrawalstep FOR EACH ROW EXECUTE FUNCTION wallet_withdrawalstep_guard();

-- A withdrawal is COMPLETED by its transfer: whoever commits the one commits the other.
CREATE FUNCTION wallet_withdrawal_paid() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM wallet_transfer t WHERE t.id = NEW.transfer_id AND t.leg = 0 AND t.kind = 'WITHDRAWAL') THEN
        RAISE EXCEPTION 'withdrawal %: COMPLETED without its transfer', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER withdrawal_paid AFTER UPDATE ON wallet_withdrawal DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state = 'COMPLETED') EXECUTE FUNCTION wallet_withdrawal_paid();

-- The transfer of an adjustment or a correction is what two people have agreed on in this very transaction; the key makes it the only one.
CREATE FUNCTION wallet_was_agreed(moved wallet_transfer) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    asked record;
    payload jsonb;
BEGIN
    SELECT r.kind, r.subject, r.payload INTO asked FROM institutions_changerequest r
    WHERE r.id = substring(moved.reference FROM '^request:([0-9]{1,18})$')::bigint AND r.state = 'APPROVED' AND r.checked_at = now()
      AND r.kind IN ('wallet.adjustment', 'wallet.correction');
    IF NOT FOUND OR NOT institutions_approved_now(asked.kind, asked.subject) OR NOT EXISTS (
           SELECT FROM wallet_transferkey k WHERE k.scope = asked.kind AND k.transfer_id = moved.id
           AND k.key = CASE asked.kind WHEN 'wallet.adjustment' THEN moved.reference ELSE asked.payload::jsonb ->> 'transfer_id' END) THEN
        RETURN false;
    END IF;
    payload := asked.payload::jsonb;
    IF asked.kind = 'wallet.correction' THEN
        RETURN EXISTS (SELECT FROM wallet_transfer t WHERE t.id = (payload ->> 'transfer_id')::uuid AND t.leg = 0
            AND t.kind IN ('DEPOSIT', 'WITHDRAWAL', 'TRANSFER', 'ADJUSTMENT') AND (t.asset_id, t.amount, t.debit_account_id, t.credit_account_id)
                = (moved.asset_id, moved.amount, moved.credit_account_id, moved.debit_account_id));
    END IF;
    RETURN abs((payload ->> 'amount')::numeric) = moved.amount
        AND (SELECT s.id FROM markets_asset s WHERE s.code = payload ->> 'asset') = moved.asset_id
        AND (payload ->> 'account_id')::bigint
            = CASE WHEN (payload ->> 'amount')::numeric > 0 THEN moved.credit_account_id ELSE moved.debit_account_id END
        AND (SELECT a.kind FROM institutions_account a WHERE a.id
            = CASE WHEN (payload ->> 'amount')::numeric > 0 THEN moved.debit_account_id ELSE moved.credit_account_id END) = 'ADJUSTMENT';
END $$;

-- Who may be on either side of a movement, what must have happened before it, and how it changes the supply. Trades do not come here.
CREATE FUNCTION wallet_movement_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    giver record;
    taker record;
    is_right boolean;
    change numeric;
BEGIN
    SELECT kind, institution_id INTO giver FROM institutions_account WHERE id = NEW.debit_account_id;
    SELECT kind, institution_id INTO taker FROM institutions_account WHERE id = NEW.credit_account_id;
    IF giver.kind IS NULL OR taker.kind IS NULL THEN
        RAISE EXCEPTION 'transfer % leg %: unknown account or asset', NEW.id, NEW.leg USING ERRCODE = 'foreign_key_violation';
    END IF;
    is_right := CASE NEW.kind
        WHEN 'DEPOSIT' THEN giver.kind = 'EXTERNAL' AND taker.kind = 'CUSTOMER'
        WHEN 'TRANSFER' THEN giver.kind = 'CUSTOMER' AND taker.kind = 'CUSTOMER' AND giver.institution_id = taker.institution_id
        WHEN 'WITHDRAWAL' THEN giver.kind = 'CUSTOMER' AND taker.kind = 'EXTERNAL' AND EXISTS (
            SELECT FROM wallet_withdrawal w WHERE w.transfer_id = NEW.id AND w.state = 'COMPLETED' AND w.changed_at = now()
            AND (w.account_id, w.asset_id, w.amount) = (NEW.debit_account_id, NEW.asset_id, NEW.amount))
        ELSE wallet_was_agreed(NEW) END;
    IF is_right IS NOT TRUE THEN
        RAISE EXCEPTION 'transfer %: no % between such accounts, or nobody has agreed to it', NEW.id, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    change := CASE WHEN giver.kind IN ('EXTERNAL', 'ADJUSTMENT') THEN NEW.amount ELSE 0 END
            - CASE WHEN taker.kind IN ('EXTERNAL', 'ADJUSTMENT') THEN NEW.amount ELSE 0 END;
    IF change <> 0 THEN
        INSERT INTO wallet_supply AS s (asset_id, amount) VALUES (NEW.asset_id, change)
        ON CONFLICT (asset_id) DO UPDATE SET amount = s.amount + excluded.amount;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER movement_guard AFTER INSERT ON wallet_transfer FOR EACH ROW
    WHEN (NEW.kind IN ('DEPOSIT', 'WITHDRAWAL', 'ADJUSTMENT', 'TRANSFER')) EXECUTE FUNCTION wallet_movement_guard();

SELECT exchange_tenant_policy('wallet_address', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
SELECT exchange_tenant_policy('wallet_withdrawal', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
SELECT exchange_tenant_policy('wallet_withdrawalstep', $$ EXISTS (SELECT 1 FROM wallet_withdrawal w WHERE w.id = withdrawal_id) $$);
"""

REVERSE = """
DROP TRIGGER movement_guard ON wallet_transfer;
DROP FUNCTION wallet_movement_guard();
DROP FUNCTION wallet_was_agreed(wallet_transfer);
DROP TRIGGER withdrawal_paid ON wallet_withdrawal;
DROP TRIGGER withdrawal_step ON wallet_withdrawal;
DROP TRIGGER withdrawal_guard ON wallet_withdrawal;
DROP TRIGGER withdrawalstep_guard ON wallet_withdrawalstep;
DROP TRIGGER withdrawallimit_guard ON wallet_withdrawallimit;
DROP TRIGGER wallet_address_guard ON wallet_address;
DROP FUNCTION wallet_withdrawal_paid();
DROP FUNCTION wallet_withdrawal_step();
DROP FUNCTION wallet_withdrawal_guard();
DROP FUNCTION wallet_withdrawalstep_guard();
DROP FUNCTION wallet_withdrawallimit_guard();
DROP FUNCTION wallet_address_guard();
DROP POLICY tenant ON wallet_withdrawalstep;
DROP POLICY engine ON wallet_withdrawalstep;
DROP POLICY tenant ON wallet_withdrawal;
DROP POLICY engine ON wallet_withdrawal;
DROP POLICY tenant ON wallet_address;
DROP POLICY engine ON wallet_address;
SELECT exchange_keep_no_longer('wallet_withdrawal');
SELECT exchange_keep_no_longer('wallet_address');
SELECT exchange_keep_no_longer('wallet_withdrawallimit');
SELECT exchange_keep_no_longer('wallet_supply');
"""


class Migration(migrations.Migration):

    dependencies = [
        ('wallet', '0003_retention'),
        ('institutions', '0005_change_requests'),
    ]

    operations = [
        migrations.CreateModel(
            name='DeniedAddress',
            fields=[
                ('address', models.CharField(max_length=120, primary_key=True, serialize=False)),
                ('reason', models.CharField(max_length=500)),
                ('added_by', models.CharField(max_length=80)),
                ('added_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Address',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('account_id', models.BigIntegerField()),
                ('asset_id', models.SmallIntegerField()),
                ('address', models.CharField(max_length=120)),
                ('label', models.CharField(default='', max_length=80)),
                ('added_by', models.CharField(max_length=80)),
                ('added_at', models.DateTimeField()),
                ('usable_at', models.DateTimeField()),
                ('removed_by', models.CharField(max_length=80, null=True)),
                ('removed_at', models.DateTimeField(null=True)),
            ],
            options={
                'verbose_name_plural': 'addresses',
                'constraints': [models.UniqueConstraint(condition=models.Q(('removed_at__isnull', True)), fields=('account_id', 'asset_id', 'address'), name='address_listed_once'), models.CheckConstraint(condition=models.Q(('usable_at__gte', models.F('added_at'))), name='address_usable_after_added'), models.CheckConstraint(condition=models.Q(models.Q(('removed_at__isnull', True), ('removed_by__isnull', True)), models.Q(('removed_at__isnull', False), ('removed_by__isnull', False)), _connector='OR'), name='address_removed_by_somebody')],
            },
        ),
        migrations.CreateModel(
            name='Supply',
            fields=[
                ('asset_id', models.SmallIntegerField(primary_key=True, serialize=False)),
                ('amount', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('amount__gt', -90000000000000000000), ('amount__lt', 90000000000000000000)), name='supply_sane')],
            },
        ),
        migrations.CreateModel(
            name='Withdrawal',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('account_id', models.BigIntegerField()),
                ('asset_id', models.SmallIntegerField()),
                ('amount', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
                ('address_id', models.UUIDField()),
                ('state', models.CharField(choices=[('REQUESTED', 'Requested'), ('APPROVED', 'Approved'), ('COMPLETED', 'Completed'), ('FAILED', 'Failed'), ('CANCELLED', 'Cancelled'), ('REJECTED', 'Rejected')], default='REQUESTED', max_length=9)),
                ('is_automatic', models.BooleanField(default=False)),
                ('transfer_id', models.UUIDField(null=True)),
                ('reference', models.CharField(max_length=120, null=True)),
                ('changed_by', models.CharField(max_length=80)),
                ('note', models.CharField(default='', max_length=500)),
                ('created_at', models.DateTimeField()),
                ('changed_at', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['account_id', 'id'], name='withdrawal_by_account'), models.Index(condition=models.Q(('state__in', ['REQUESTED', 'APPROVED'])), fields=['account_id', 'asset_id'], name='withdrawal_pending'), models.Index(condition=models.Q(('is_automatic', True)), fields=['account_id', 'asset_id', 'changed_at'], name='withdrawal_automatic')],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount__gt', 0), ('amount__lt', 100000000000000000000)), name='withdrawal_amount_positive'), models.CheckConstraint(condition=models.Q(('state__in', ['REQUESTED', 'APPROVED', 'COMPLETED', 'FAILED', 'CANCELLED', 'REJECTED'])), name='withdrawal_state_known'), models.CheckConstraint(condition=models.Q(models.Q(('reference__isnull', False), ('state', 'COMPLETED'), ('transfer_id__isnull', False)), models.Q(models.Q(('state', 'COMPLETED'), _negated=True), ('reference__isnull', True), ('transfer_id__isnull', True)), _connector='OR'), name='withdrawal_completed_by_transfer'), models.UniqueConstraint(fields=('transfer_id',), name='withdrawal_transfer_once')],
            },
        ),
        migrations.CreateModel(
            name='WithdrawalLimit',
            fields=[
                ('asset_id', models.SmallIntegerField(primary_key=True, serialize=False)),
                ('automatic', exchange_platform.fields.Amount(decimal_places=18, max_digits=38)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('automatic__gte', 0), ('automatic__lt', 100000000000000000000)), name='withdrawallimit_sane')],
            },
        ),
        migrations.CreateModel(
            name='WithdrawalStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('withdrawal_id', models.UUIDField()),
                ('from_state', models.CharField(max_length=9, null=True)),
                ('to_state', models.CharField(max_length=9)),
                ('actor', models.CharField(max_length=80)),
                ('note', models.CharField(max_length=500)),
                ('at', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['withdrawal_id', 'id'], name='withdrawalstep_by_withdrawal')],
            },
        ),
        migrations.RunSQL(SQL, REVERSE),
    ]

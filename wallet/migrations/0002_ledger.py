"""The ledger in SQL: partitioned, append-only, balanced by construction, checked per statement."""

from django.db import migrations

SQL = """
CREATE TABLE wallet_transfer (
    id uuid NOT NULL,
    leg smallint NOT NULL,
    kind varchar(12) NOT NULL,
    asset_id smallint NOT NULL,
    debit_account_id bigint NOT NULL,
    credit_account_id bigint NOT NULL,
    amount numeric(38, 18) NOT NULL,
    reference varchar(120),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (id, leg),
    -- NaN compares greater than every number, so the upper bound refuses it too.
    CONSTRAINT transfer_amount_positive CHECK (amount > 0 AND amount < 1e20),
    CONSTRAINT transfer_two_accounts CHECK (debit_account_id <> credit_account_id),
    CONSTRAINT transfer_leg_known CHECK (leg BETWEEN 0 AND 3),
    CONSTRAINT transfer_kind_known CHECK (kind IN
        ('TRADE', 'MAKER_FEE', 'TAKER_FEE', 'DEPOSIT', 'WITHDRAWAL', 'ADJUSTMENT', 'TRANSFER', 'VENUE')),
    CONSTRAINT transfer_leg_matches_kind CHECK (CASE leg WHEN 0 THEN kind NOT IN ('MAKER_FEE', 'TAKER_FEE') WHEN 1 THEN kind = 'TRADE'
        ELSE kind IN ('MAKER_FEE', 'TAKER_FEE') END)
) PARTITION BY RANGE (id);
-- Trades are found through their trade; only movements have indexes by account (decision 0005).
CREATE INDEX transfer_movement_debit ON wallet_transfer (debit_account_id, id) WHERE kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE');
CREATE INDEX transfer_movement_credit ON wallet_transfer (credit_account_id, id) WHERE kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE');

SELECT exchange_append_only('wallet_transfer');
SELECT exchange_append_only('wallet_transferkey');

-- Once per statement: accounts and assets exist, and the two legs of every trade, of two assets, go opposite
-- ways between the same two accounts.
CREATE FUNCTION wallet_transfer_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    wrong text;
BEGIN
    SELECT n.id || ' leg ' || n.leg INTO wrong FROM added n
    WHERE NOT EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = n.debit_account_id)
       OR NOT EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = n.credit_account_id)
       OR NOT EXISTS (SELECT 1 FROM markets_asset s WHERE s.id = n.asset_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer %: unknown account or asset', wrong USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT n.id::text INTO wrong FROM added n WHERE n.kind = 'TRADE' GROUP BY n.id
    HAVING count(*) <> 2 OR min(leg) <> 0 OR max(leg) <> 1
        OR min(debit_account_id) <> min(credit_account_id) OR max(debit_account_id) <> max(credit_account_id)
        OR min(debit_account_id) = max(debit_account_id) OR min(asset_id) = max(asset_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'trade %: its two legs must go opposite ways between two accounts, in two assets', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER transfer_check AFTER INSERT ON wallet_transfer REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION wallet_transfer_check();

-- Two entries per transfer, for accountants.
CREATE VIEW wallet_entry WITH (security_invoker = true) AS
    SELECT id, leg, kind, asset_id, debit_account_id AS account_id, -amount AS amount, credit_account_id AS counterpart_id, reference, created_at
    FROM wallet_transfer
    UNION ALL
    SELECT id, leg, kind, asset_id, credit_account_id, amount, debit_account_id, reference, created_at FROM wallet_transfer;

SELECT exchange_keep('wallet_balance', 'account_id', 'asset_id');
ALTER TABLE wallet_balance SET (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000);

SELECT exchange_tenant_policy('wallet_balance',
    $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
SELECT exchange_tenant_policy('wallet_transfer',
    $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = debit_account_id)
       OR EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = credit_account_id) $$);
"""

REVERSE = """
SELECT exchange_keep_no_longer('wallet_balance');
DROP POLICY tenant ON wallet_balance;
DROP POLICY engine ON wallet_balance;
ALTER TABLE wallet_balance NO FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet_balance DISABLE ROW LEVEL SECURITY;
DROP VIEW wallet_entry;
DROP TRIGGER append_only ON wallet_transferkey;
DROP TRIGGER append_only_truncate ON wallet_transferkey;
DROP TABLE wallet_transfer;
DROP FUNCTION wallet_transfer_check();
"""


class Migration(migrations.Migration):
    dependencies = [("wallet", "0001_initial"), ("institutions", "0002_integrity"), ("markets", "0001_initial")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

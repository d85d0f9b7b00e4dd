"""Stops, auctions and the history of symbols' statuses in SQL."""

from django.db import migrations



FROZEN = """OLD.maker_fee_rate <> NEW.maker_fee_rate OR OLD.taker_fee_rate <> NEW.taker_fee_rate OR OLD.order_type <> NEW.order_type
          OR OLD.time_in_force <> NEW.time_in_force OR NEW.filled_quantity < OLD.filled_quantity OR NEW.filled_quote < OLD.filled_quote
          OR NEW.sequence < OLD.sequence"""

SQL = f"""
ALTER TABLE orders_order
    ADD COLUMN trigger_price numeric(38, 18),
    ADD COLUMN triggered_at timestamptz,
    ADD CONSTRAINT order_trigger_price_sane CHECK (trigger_price > 0 AND trigger_price < 1e20),
    ADD CONSTRAINT order_triggered_whole CHECK ((trigger_price IS NULL) = (triggered_at IS NULL)),
    ADD CONSTRAINT order_trigger_source_known CHECK (trigger_source IN ('LAST', 'REFERENCE')),
    ADD CONSTRAINT order_stop_has_a_trigger CHECK ((order_type IN ('STOP', 'STOP_LIMIT', 'TAKE_PROFIT', 'TAKE_PROFIT_LIMIT'))
        = (stop_price IS NOT NULL) AND (stop_price IS NULL) = (trigger_source IS NULL)),
    ADD CONSTRAINT order_only_stops_wait CHECK (status NOT IN ('PENDING_TRIGGER', 'TRIGGERED') OR stop_price IS NOT NULL),
    -- A stop acts only once it is triggered; one that ends before was cancelled, refused or has expired.
    ADD CONSTRAINT order_stop_acts_when_triggered CHECK
        (stop_price IS NULL OR trigger_price IS NOT NULL OR status NOT IN ('TRIGGERED', 'OPEN', 'PARTIALLY_FILLED', 'FILLED')),
    ADD CONSTRAINT order_gtd_has_an_end CHECK ((time_in_force = 'GTD') = (expire_at IS NOT NULL)),
    ADD CONSTRAINT order_reduces_by_selling CHECK (NOT reduce_only OR side = 'SELL' OR status = 'REJECTED');
DROP TRIGGER order_frozen ON orders_order;
CREATE OR REPLACE FUNCTION orders_order_frozen() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'order %: its type, terms and fee rates are frozen, what was filled stays filled, what triggered it too', OLD.id
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER order_frozen BEFORE UPDATE ON orders_order FOR EACH ROW
    WHEN ({FROZEN} OR OLD.stop_price <> NEW.stop_price OR OLD.trigger_source <> NEW.trigger_source OR OLD.expire_at <> NEW.expire_at
          OR OLD.reduce_only <> NEW.reduce_only OR OLD.trigger_price IS DISTINCT FROM NEW.trigger_price AND OLD.trigger_price IS NOT NULL)
    EXECUTE FUNCTION orders_order_frozen();

ALTER TABLE orders_trade ADD COLUMN in_auction boolean NOT NULL DEFAULT false;

ALTER TABLE orders_symbolstatus
    ADD CONSTRAINT symbolstatus_known CHECK (status IN ('TRADING', 'POST_ONLY', 'CANCEL_ONLY', 'HALTED', 'AUCTION', 'DELISTED')),
    ADD CONSTRAINT symbolstatus_sequence CHECK (sequence > 0 AND number >= sequence);
SELECT exchange_append_only('orders_symbolstatus');

ALTER TABLE orders_checkpoint ADD CONSTRAINT checkpoint_place_number CHECK (place_number >= 0);
ALTER TABLE orders_checkpoint ALTER COLUMN place_number SET DEFAULT 0, ALTER COLUMN conditions SET DEFAULT '{{}}';
UPDATE orders_checkpoint SET place_number = sequence;
CREATE TRIGGER checkpoint_places_never_back BEFORE UPDATE ON orders_checkpoint FOR EACH ROW WHEN (NEW.place_number < OLD.place_number)
    EXECUTE FUNCTION orders_never_back();

SELECT exchange_tenant_policy('orders_switch', $$ EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = account_id) $$);
ALTER TABLE orders_switch SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
"""

REVERSE = f"""
DROP POLICY tenant ON orders_switch;
DROP POLICY engine ON orders_switch;
ALTER TABLE orders_switch NO FORCE ROW LEVEL SECURITY;
ALTER TABLE orders_switch DISABLE ROW LEVEL SECURITY;
DROP TRIGGER checkpoint_places_never_back ON orders_checkpoint;
ALTER TABLE orders_checkpoint DROP CONSTRAINT checkpoint_place_number;
DROP TRIGGER append_only ON orders_symbolstatus;
DROP TRIGGER append_only_truncate ON orders_symbolstatus;
ALTER TABLE orders_symbolstatus DROP CONSTRAINT symbolstatus_sequence, DROP CONSTRAINT symbolstatus_known;
ALTER TABLE orders_trade DROP COLUMN in_auction;
DROP TRIGGER order_frozen ON orders_order;
CREATE TRIGGER order_frozen BEFORE UPDATE ON orders_order FOR EACH ROW WHEN ({FROZEN}) EXECUTE FUNCTION orders_order_frozen();
ALTER TABLE orders_order
    DROP CONSTRAINT order_reduces_by_selling, DROP CONSTRAINT order_gtd_has_an_end, DROP CONSTRAINT order_stop_acts_when_triggered,
    DROP CONSTRAINT order_only_stops_wait, DROP CONSTRAINT order_stop_has_a_trigger, DROP CONSTRAINT order_trigger_source_known,
    DROP COLUMN triggered_at, DROP COLUMN trigger_price;
"""


class Migration(migrations.Migration):
    dependencies = [("orders", "0003_phases"), ("risk", "0004_positions"), ("markets", "0005_phases")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

"""A symbol's smallest trade must be expressible in its assets, its grid never changes once books count in it, its fees go to the house."""

from django.db import migrations

SQL = """
CREATE FUNCTION markets_symbol_grid() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    base_scale integer;
    quote_scale integer;
BEGIN
    IF NOT (NEW.tick_size > 0 AND NEW.tick_size < 'NaN' AND NEW.lot_size > 0 AND NEW.lot_size < 'NaN') THEN
        RETURN NEW; -- nothing can be divided by it: symbol_tick_positive or symbol_lot_positive refuses the row by name
    END IF;
    SELECT scale INTO base_scale FROM markets_asset WHERE id = NEW.base_id;
    SELECT scale INTO quote_scale FROM markets_asset WHERE id = NEW.quote_id;
    IF scale(trim_scale(NEW.lot_size)) > base_scale THEN
        RAISE EXCEPTION 'symbol %: a lot of % needs more decimals than the base asset has (%)', NEW.name, NEW.lot_size, base_scale
            USING ERRCODE = 'check_violation';
    END IF;
    IF scale(trim_scale(NEW.tick_size * NEW.lot_size)) > quote_scale THEN
        RAISE EXCEPTION 'symbol %: tick × lot = % needs more decimals than the quote asset has (%)', NEW.name,
            trim_scale(NEW.tick_size * NEW.lot_size), quote_scale USING ERRCODE = 'check_violation';
    END IF;
    IF mod(NEW.min_quantity, NEW.lot_size) <> 0 OR mod(coalesce(NEW.max_quantity, 0), NEW.lot_size) <> 0 THEN
        RAISE EXCEPTION 'symbol %: min and max quantity must be whole lots', NEW.name USING ERRCODE = 'check_violation';
    END IF;
    IF mod(coalesce(NEW.min_price, 0), NEW.tick_size) <> 0 OR mod(coalesce(NEW.max_price, 0), NEW.tick_size) <> 0 THEN
        RAISE EXCEPTION 'symbol %: min and max price must be whole ticks', NEW.name USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND (OLD.tick_size, OLD.lot_size, OLD.base_id, OLD.quote_id, OLD.fee_account_id)
            IS DISTINCT FROM (NEW.tick_size, NEW.lot_size, NEW.base_id, NEW.quote_id, NEW.fee_account_id) THEN
        RAISE EXCEPTION 'symbol %: assets, tick, lot and fee account never change; list a new symbol', NEW.name
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER symbol_grid BEFORE INSERT OR UPDATE ON markets_symbol FOR EACH ROW EXECUTE FUNCTION markets_symbol_grid();

CREATE FUNCTION markets_asset_scale() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'asset %: its scale never changes, all amounts are counted in it', OLD.code USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER asset_scale BEFORE UPDATE ON markets_asset FOR EACH ROW WHEN (OLD.scale <> NEW.scale)
    EXECUTE FUNCTION markets_asset_scale();

-- NaN compares greater than every number, so the upper bounds refuse it too.
ALTER TABLE markets_symbol
    ADD CONSTRAINT symbol_bands_sane CHECK (static_band >= 0 AND static_band < 100 AND dynamic_band >= 0 AND dynamic_band < 100
        AND market_protection >= 0 AND market_protection < 100),
    ADD CONSTRAINT symbol_min_price_sane CHECK (min_price >= 0 AND min_price < 1e18),
    ADD CONSTRAINT symbol_max_price_sane CHECK (max_price > 0 AND max_price < 1e18 AND (min_price IS NULL OR min_price <= max_price));

CREATE FUNCTION markets_symbol_fees() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM institutions_account a WHERE a.id = NEW.fee_account_id AND a.kind <> 'CUSTOMER') THEN
        RAISE EXCEPTION 'symbol %: its fee account must be one of the house', NEW.name USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER symbol_fees BEFORE INSERT ON markets_symbol FOR EACH ROW EXECUTE FUNCTION markets_symbol_fees();

SELECT exchange_keep('markets_symbol', 'id');
SELECT exchange_keep('markets_asset', 'id');
"""

REVERSE = """
SELECT exchange_keep_no_longer('markets_asset');
SELECT exchange_keep_no_longer('markets_symbol');
DROP TRIGGER symbol_fees ON markets_symbol;
DROP FUNCTION markets_symbol_fees();
ALTER TABLE markets_symbol DROP CONSTRAINT symbol_max_price_sane, DROP CONSTRAINT symbol_min_price_sane, DROP CONSTRAINT symbol_bands_sane;
DROP TRIGGER asset_scale ON markets_asset;
DROP FUNCTION markets_asset_scale();
DROP TRIGGER symbol_grid ON markets_symbol;
DROP FUNCTION markets_symbol_grid();
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0001_initial"), ("institutions", "0002_integrity")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

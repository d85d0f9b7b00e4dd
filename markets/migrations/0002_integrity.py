"""A symbol's smallest trade must be expressible in its assets, and its grid never changes once books count in it."""

from django.db import migrations

SQL = """
CREATE FUNCTION markets_symbol_grid() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    base_scale integer;
    quote_scale integer;
BEGIN
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

CREATE FUNCTION markets_asset_scale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'asset %: its scale never changes, all amounts are counted in it', OLD.code USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER asset_scale BEFORE UPDATE ON markets_asset FOR EACH ROW WHEN (OLD.scale <> NEW.scale)
    EXECUTE FUNCTION markets_asset_scale();
"""

REVERSE = """
DROP TRIGGER asset_scale ON markets_asset;
DROP FUNCTION markets_asset_scale();
DROP TRIGGER symbol_grid ON markets_symbol;
DROP FUNCTION markets_symbol_grid();
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0001_initial"), ("exchange_platform", "0001_roles")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

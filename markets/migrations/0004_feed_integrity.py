"""What is in the candles is never taken in again: a market's feed only goes forward."""

from django.db import migrations

SQL = """
CREATE TRIGGER marketfeed_never_back BEFORE UPDATE ON markets_marketfeed FOR EACH ROW
    WHEN (NEW.trade_id < OLD.trade_id OR (NEW.trade_id IS NULL AND OLD.trade_id IS NOT NULL) OR NEW.ticker < OLD.ticker)
    EXECUTE FUNCTION notifications_never_back();
SELECT exchange_keep('markets_marketfeed', 'symbol_id');
"""

REVERSE = """
SELECT exchange_keep_no_longer('markets_marketfeed');
DROP TRIGGER marketfeed_never_back ON markets_marketfeed;
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0003_marketfeed_candle"), ("notifications", "0002_integrity")]
    operations = [migrations.RunSQL(SQL, REVERSE)]

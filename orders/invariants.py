"""What must agree with what, each as one set-based query that finds the rows which do not. `orders.reconcile` runs them.

Every query reads whole tables once, joins by hash and yields (table, key, expected, found, sentence) per broken row. It takes
the parameters `terminal` (statuses that end an order), `life` (all statuses in the order of a life) and `horizon` (the first id
that is in no closed month). No query calls a function of this project: what they recompute (holds, fees, hashes) is written a
second time on purpose.

What was before the horizon counts as it was carried forward, whether its rows have left yet or not, so a partition may be detached
between any two statements.
"""

from dataclasses import dataclass
from typing import Final

from orders.guards import GUARDS_SQL


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: what it `compares`, in words, and the SQL that yields its breaks. `touches_funds`: a break means that
    customers may not own what they seem to own, and trading must stop (`orders.breaks`)."""

    name: str
    compares: str
    sql: str
    touches_funds: bool = False


SUMS = Check(
    "sums",
    "per asset: transfers of customers and house against zero; balances against what the house owes",
    """
    WITH flow AS MATERIALIZED (
        SELECT account_id, asset_id, sum(amount) AS amount FROM (
            SELECT credit_account_id AS account_id, asset_id, sum(amount) AS amount FROM wallet_transfer
            WHERE id >= %(horizon)s GROUP BY 1, 2
            UNION ALL
            SELECT debit_account_id, asset_id, -sum(amount) FROM wallet_transfer WHERE id >= %(horizon)s GROUP BY 1, 2
            UNION ALL
            SELECT account_id, asset_id, sum(amount) FROM wallet_carriedsum GROUP BY 1, 2) AS side
        GROUP BY account_id, asset_id
    ), moved AS (
        SELECT flow.asset_id, sum(flow.amount) FILTER (WHERE a.kind = 'CUSTOMER') AS customers,
               sum(flow.amount) FILTER (WHERE a.kind <> 'CUSTOMER') AS house
        FROM flow JOIN institutions_account a ON a.id = flow.account_id GROUP BY flow.asset_id
    ), owned AS (
        SELECT asset_id, sum(posted) AS posted FROM wallet_balance GROUP BY asset_id
    ), sums AS (
        SELECT asset_id, coalesce(customers, 0) AS customers, coalesce(house, 0) AS house, coalesce(posted, 0) AS posted
        FROM moved FULL JOIN owned USING (asset_id)
    )
    SELECT 'markets_asset', format('id=%%s', asset_id), trim_scale(v.expected)::text, trim_scale(v.found)::text,
           format('%%s: the house owes %%s, %%s %%s', coalesce(s.code, 'asset ' || asset_id), trim_scale(v.expected), v.what,
                  trim_scale(v.found))
    FROM sums CROSS JOIN LATERAL (VALUES
        ('the transfers of customers come to', -house, customers), ('the balances of customers come to', -house, posted)
    ) AS v (what, expected, found) LEFT JOIN markets_asset s ON s.id = asset_id
    WHERE v.expected <> v.found
    """,
    touches_funds=True,
)

BALANCES = Check(
    "balances",
    "what each account owns against all transfers from and to it; house accounts have no balance",
    """
    WITH flow AS (
        SELECT account_id, asset_id, sum(amount) AS amount FROM (
            SELECT credit_account_id AS account_id, asset_id, sum(amount) AS amount FROM wallet_transfer
            WHERE id >= %(horizon)s GROUP BY 1, 2
            UNION ALL
            SELECT debit_account_id, asset_id, -sum(amount) FROM wallet_transfer WHERE id >= %(horizon)s GROUP BY 1, 2
            UNION ALL
            SELECT account_id, asset_id, sum(amount) FROM wallet_carriedsum GROUP BY 1, 2) AS side
        GROUP BY account_id, asset_id
    ), customers AS (
        SELECT flow.* FROM flow LEFT JOIN institutions_account a ON a.id = flow.account_id WHERE a.kind = 'CUSTOMER' OR a.id IS NULL
    )
    SELECT 'wallet_balance', format('account_id=%%s asset_id=%%s', account_id, asset_id),
           CASE WHEN a.kind <> 'CUSTOMER' THEN 'no row' ELSE trim_scale(coalesce(f.amount, 0))::text END,
           coalesce(trim_scale(b.posted)::text, 'no row'),
           CASE WHEN a.kind <> 'CUSTOMER' THEN format('house account %%s has a balance of %%s', a.name, s.code)
                ELSE format('account %%s: transfers come to %%s %%s, its balance says %%s', coalesce(a.name, account_id::text),
                            trim_scale(coalesce(f.amount, 0)), coalesce(s.code, 'asset ' || asset_id),
                            coalesce(trim_scale(b.posted)::text, 'nothing')) END
    FROM customers f FULL JOIN wallet_balance b USING (account_id, asset_id)
    LEFT JOIN institutions_account a ON a.id = account_id LEFT JOIN markets_asset s ON s.id = asset_id
    WHERE coalesce(f.amount, 0) <> coalesce(b.posted, 0) OR (a.kind <> 'CUSTOMER' AND b.posted IS NOT NULL)
    """,
    touches_funds=True,
)

SUPPLY = Check(
    "supply",
    "per asset: what has come in from the world outside and by adjustments against the sum that is kept of it",
    """
    WITH house AS (
        SELECT id FROM institutions_account WHERE kind IN ('EXTERNAL', 'ADJUSTMENT')
    ), came AS (
        SELECT asset_id, sum(amount) AS amount FROM (
            SELECT asset_id, amount FROM wallet_transfer t JOIN house ON house.id = debit_account_id
            WHERE t.id >= %(horizon)s AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')
            UNION ALL
            SELECT asset_id, -amount FROM wallet_transfer t JOIN house ON house.id = credit_account_id
            WHERE t.id >= %(horizon)s AND t.kind NOT IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE')
            UNION ALL
            SELECT asset_id, -amount FROM wallet_carriedsum JOIN house ON house.id = account_id) AS part
        GROUP BY asset_id
    )
    SELECT 'wallet_supply', format('asset_id=%%s', asset_id), trim_scale(coalesce(c.amount, 0))::text,
           coalesce(trim_scale(w.amount)::text, 'no row'),
           format('%%s: %%s came in, the sum that is kept says %%s', coalesce(s.code, 'asset ' || asset_id),
                  trim_scale(coalesce(c.amount, 0)), coalesce(trim_scale(w.amount)::text, 'nothing'))
    FROM came c FULL JOIN wallet_supply w USING (asset_id) LEFT JOIN markets_asset s ON s.id = asset_id
    WHERE coalesce(c.amount, 0) <> coalesce(w.amount, 0)
    ORDER BY asset_id""",
)

HOLDS = Check(
    "holds",
    "what each balance holds against its open orders, pending amends and pending withdrawals",
    """
    WITH reserved AS (
        SELECT account_id, asset_id, sum(held) AS held FROM (
            SELECT o.account_id, CASE o.side WHEN 'BUY' THEN s.quote_id ELSE s.base_id END AS asset_id, o.held
            FROM orders_order o JOIN markets_symbol s ON s.id = o.symbol_id WHERE o.held <> 0
            UNION ALL
            SELECT o.account_id, CASE o.side WHEN 'BUY' THEN s.quote_id ELSE s.base_id END, m.extra_held
            FROM orders_amend m JOIN orders_order o ON o.id = m.order_id JOIN markets_symbol s ON s.id = o.symbol_id
            WHERE m.status = 'PENDING' AND m.extra_held <> 0
            UNION ALL
            SELECT w.account_id, w.asset_id, w.amount FROM wallet_withdrawal w WHERE w.state IN ('REQUESTED', 'APPROVED')) AS part
        GROUP BY account_id, asset_id
    )
    SELECT 'wallet_balance', format('account_id=%%s asset_id=%%s', account_id, asset_id), trim_scale(coalesce(r.held, 0))::text,
           coalesce(trim_scale(b.held)::text, 'no row'),
           format('account %%s: its orders, amends and withdrawals hold %%s %%s, its balance holds %%s', coalesce(a.name, account_id::text),
                  trim_scale(coalesce(r.held, 0)), s.code, coalesce(trim_scale(b.held)::text, 'nothing'))
    FROM reserved r FULL JOIN wallet_balance b USING (account_id, asset_id)
    LEFT JOIN institutions_account a ON a.id = account_id LEFT JOIN markets_asset s ON s.id = asset_id
    WHERE coalesce(r.held, 0) <> coalesce(b.held, 0)
    """,
    touches_funds=True,
)

ORDER_HOLDS = Check(
    "order-holds",
    "what each order holds against price, size and what is done of it",
    """
    SELECT 'orders_order', format('id=%%s', id), coalesce(trim_scale(expected)::text, 'a price to hold at'), trim_scale(held)::text,
           format('order %%s (%%s %%s): it should hold %%s and holds %%s', id, side, status,
                  coalesce(trim_scale(expected)::text, 'at a price'), trim_scale(held))
    FROM (
        SELECT id, side, status, held,
               CASE WHEN status = ANY (%(terminal)s) THEN 0
                    WHEN quantity IS NULL THEN quote_quantity
                    WHEN side = 'SELL' THEN quantity - filled_quantity - prevented_quantity
                    ELSE coalesce(price, protection_price) * (quantity - filled_quantity - prevented_quantity) END AS expected
        FROM orders_order) AS o
    WHERE expected IS DISTINCT FROM held
    """,
    touches_funds=True,
)

FILLS = Check(
    "fills",
    "filled quantity, filled quote and fee of each order against its trades",
    """
    WITH done AS (
        SELECT order_id, sum(quantity) AS quantity, sum(quote) AS quote, sum(fee) AS fee FROM (
            SELECT maker_order_id AS order_id, quantity, price * quantity AS quote, maker_fee AS fee FROM orders_trade
            WHERE id >= %(horizon)s
            UNION ALL
            SELECT taker_order_id, quantity, price * quantity, taker_fee FROM orders_trade WHERE id >= %(horizon)s) AS side
        GROUP BY order_id
    ), wrong AS (
        SELECT o.id, coalesce(d.quantity, 0) AS quantity, coalesce(d.quote, 0) AS quote, coalesce(d.fee, 0) AS fee,
               o.filled_quantity, o.filled_quote, o.fee AS order_fee
        FROM orders_order o LEFT JOIN done d ON d.order_id = o.id
        WHERE o.id >= %(horizon)s AND (o.filled_quantity <> coalesce(d.quantity, 0) OR o.filled_quote <> coalesce(d.quote, 0)
                                       OR o.fee <> coalesce(d.fee, 0))
    )
    SELECT 'orders_order', format('id=%%s', id), trim_scale(v.expected)::text, trim_scale(v.found)::text,
           format('order %%s: its trades give %%s %%s, it says %%s', id, v.field, trim_scale(v.expected), trim_scale(v.found))
    FROM wrong CROSS JOIN LATERAL (VALUES
        ('filled_quantity', quantity, filled_quantity), ('filled_quote', quote, filled_quote), ('fee', fee, order_fee)
    ) AS v (field, expected, found)
    WHERE v.expected <> v.found
    """,
    touches_funds=True,
)

WHOLE = Check(
    "whole",
    "the status of each order against how much of it is done: FILLED is whole, open orders have something left",
    """
    SELECT 'orders_order', format('id=%%s', id), expected,
           format('%%s done of %%s', trim_scale(done), coalesce(trim_scale(quantity)::text, '?')),
           format('order %%s is %%s: that means %%s, but %%s of %%s is done', id, status, expected, trim_scale(done),
                  coalesce(trim_scale(quantity)::text, '?'))
    FROM (
        SELECT id, status, quantity, filled_quantity + prevented_quantity AS done,
               CASE WHEN status = 'FILLED' AND filled_quantity + prevented_quantity <> quantity THEN 'all of it is done'
                    WHEN status = 'PARTIALLY_FILLED' AND (filled_quantity = 0 OR filled_quantity + prevented_quantity >= quantity)
                        THEN 'a part of it is done'
                    WHEN status IN ('PENDING', 'PENDING_TRIGGER', 'TRIGGERED', 'REJECTED') AND filled_quantity + prevented_quantity <> 0
                        THEN 'nothing of it is done'
                    WHEN status = 'OPEN' AND (filled_quantity <> 0 OR prevented_quantity >= quantity)
                        THEN 'nothing of it is filled and something is left' END AS expected
        FROM orders_order) AS o
    WHERE expected IS NOT NULL
    """,
)

PARTIES = Check(
    "parties",
    "the accounts, symbol and sides of each trade against its two orders",
    """
    SELECT 'orders_trade', format('id=%%s', t.id), v.expected, v.found,
           format('trade %%s (number %%s of symbol %%s): %%s is %%s, its order %%s says %%s', t.id, t.number, t.symbol_id, v.field, v.found,
                  v.order_id, v.expected)
    FROM orders_trade t
    LEFT JOIN orders_order m ON m.id = t.maker_order_id LEFT JOIN orders_order k ON k.id = t.taker_order_id
    CROSS JOIN LATERAL (VALUES
        ('maker account', t.maker_order_id, coalesce(m.account_id::text, 'no such order'), t.maker_account_id::text),
        ('taker account', t.taker_order_id, coalesce(k.account_id::text, 'no such order'), t.taker_account_id::text),
        ('symbol of the maker', t.maker_order_id, coalesce(m.symbol_id::text, 'no such order'), t.symbol_id::text),
        ('symbol of the taker', t.taker_order_id, coalesce(k.symbol_id::text, 'no such order'), t.symbol_id::text),
        ('side of the maker', t.maker_order_id, coalesce(m.side, 'no such order'), CASE t.taker_side WHEN 'BUY' THEN 'SELL' ELSE 'BUY' END),
        ('side of the taker', t.taker_order_id, coalesce(k.side, 'no such order'), t.taker_side)
    ) AS v (field, order_id, expected, found)
    WHERE ((m.account_id, m.symbol_id, k.account_id, k.symbol_id, k.side)
               IS DISTINCT FROM (t.maker_account_id, t.symbol_id, t.taker_account_id, t.symbol_id, t.taker_side) OR m.side = k.side)
      AND v.expected <> v.found AND NOT (v.expected = 'no such order' AND v.order_id < %(horizon)s)
    """,
)

FEES = Check(
    "fees",
    "the fees of each trade against what was received, the rates frozen in its orders and the asset's scale",
    """
    WITH asset AS (
        SELECT id, ('1e' || scale)::numeric AS whole, ('1e-' || scale)::numeric AS unit FROM markets_asset
    ), fee AS (
        SELECT t.id, t.number, t.maker_fee, t.taker_fee, buys.taker,
               floor(CASE WHEN buys.taker THEN t.price * t.quantity ELSE t.quantity END
                     * CASE WHEN t.in_auction THEN m.taker_fee_rate ELSE m.maker_fee_rate END
                     * CASE WHEN buys.taker THEN quote.whole ELSE base.whole END)
                   * CASE WHEN buys.taker THEN quote.unit ELSE base.unit END AS maker_expected,
               floor(CASE WHEN buys.taker THEN t.quantity ELSE t.price * t.quantity END * k.taker_fee_rate
                     * CASE WHEN buys.taker THEN base.whole ELSE quote.whole END)
                   * CASE WHEN buys.taker THEN base.unit ELSE quote.unit END AS taker_expected
        FROM orders_trade t
        CROSS JOIN LATERAL (SELECT t.taker_side = 'BUY' AS taker) AS buys
        JOIN orders_order m ON m.id = t.maker_order_id JOIN orders_order k ON k.id = t.taker_order_id
        JOIN markets_symbol s ON s.id = t.symbol_id
        JOIN asset base ON base.id = s.base_id JOIN asset quote ON quote.id = s.quote_id
    )
    SELECT 'orders_trade', format('id=%%s', id), trim_scale(v.expected)::text, trim_scale(v.found)::text,
           format('trade %%s: the %%s fee comes to %%s, it says %%s', id, v.who, trim_scale(v.expected), trim_scale(v.found))
    FROM fee CROSS JOIN LATERAL (VALUES
        ('maker', maker_expected, maker_fee), ('taker', taker_expected, taker_fee)
    ) AS v (who, expected, found)
    WHERE (maker_fee <> maker_expected OR taker_fee <> taker_expected) AND v.expected <> v.found
    """,
    touches_funds=True,
)

TRADE_TRANSFERS = Check(
    "trade-transfers",
    "the transfers of each trade (kind, asset, parties, amount of every leg) against the trade",
    """
    WITH trade AS (
        SELECT t.id, s.base_id, s.quote_id, s.fee_account_id, t.quantity, t.price * t.quantity AS quote,
               CASE t.taker_side WHEN 'BUY' THEN t.taker_account_id ELSE t.maker_account_id END AS buyer,
               CASE t.taker_side WHEN 'BUY' THEN t.maker_account_id ELSE t.taker_account_id END AS seller,
               CASE t.taker_side WHEN 'BUY' THEN t.taker_fee ELSE t.maker_fee END AS buyer_fee,
               CASE t.taker_side WHEN 'BUY' THEN t.maker_fee ELSE t.taker_fee END AS seller_fee,
               CASE WHEN t.in_auction OR t.taker_side = 'BUY' THEN 'TAKER_FEE' ELSE 'MAKER_FEE' END AS buyer_fee_kind,
               CASE WHEN t.in_auction OR t.taker_side = 'SELL' THEN 'TAKER_FEE' ELSE 'MAKER_FEE' END AS seller_fee_kind
        FROM orders_trade t JOIN markets_symbol s ON s.id = t.symbol_id WHERE t.id >= %(horizon)s
    ), expected AS (
        SELECT id, 0::smallint AS leg, 'TRADE' AS kind, base_id AS asset_id, seller AS debit, buyer AS credit, quantity AS amount FROM trade
        UNION ALL SELECT id, 1, 'TRADE', quote_id, buyer, seller, quote FROM trade
        UNION ALL SELECT id, 2, buyer_fee_kind, base_id, CASE WHEN buyer_fee > 0 THEN buyer ELSE fee_account_id END,
                         CASE WHEN buyer_fee > 0 THEN fee_account_id ELSE buyer END, abs(buyer_fee) FROM trade WHERE buyer_fee <> 0
        UNION ALL SELECT id, 3, seller_fee_kind, quote_id, CASE WHEN seller_fee > 0 THEN seller ELSE fee_account_id END,
                         CASE WHEN seller_fee > 0 THEN fee_account_id ELSE seller END, abs(seller_fee) FROM trade WHERE seller_fee <> 0
    ), found AS (
        SELECT id, leg, kind, asset_id, debit_account_id AS debit, credit_account_id AS credit, amount FROM wallet_transfer
        WHERE kind IN ('TRADE', 'MAKER_FEE', 'TAKER_FEE') AND id >= %(horizon)s
    ), wrong AS (
        SELECT id, leg,
               CASE WHEN e.kind IS NULL THEN 'no transfer' ELSE format('%%s of %%s %%s from %%s to %%s', e.kind, trim_scale(e.amount),
                   (SELECT code FROM markets_asset WHERE markets_asset.id = e.asset_id), e.debit, e.credit) END AS expected,
               CASE WHEN f.kind IS NULL THEN 'no transfer' ELSE format('%%s of %%s %%s from %%s to %%s', f.kind, trim_scale(f.amount),
                   (SELECT code FROM markets_asset WHERE markets_asset.id = f.asset_id), f.debit, f.credit) END AS found
        FROM expected e FULL JOIN found f USING (id, leg)
        WHERE e.amount IS DISTINCT FROM f.amount OR e.debit IS DISTINCT FROM f.debit OR e.credit IS DISTINCT FROM f.credit
           OR e.asset_id IS DISTINCT FROM f.asset_id OR e.kind IS DISTINCT FROM f.kind
    )
    SELECT 'wallet_transfer', format('id=%%s leg=%%s', id, leg), expected, found,
           format('leg %%s of trade %%s: the trade asks for %%s, the ledger has %%s', leg, id, expected, found)
    FROM wrong
    """,
    touches_funds=True,
)

TRANSITIONS = Check(
    "transitions",
    "the history of each order: begins once at intake, each step where the last one ended, the last one is its status",
    """
    WITH step AS (
        SELECT order_id, sequence, from_status, to_status,
               lag(to_status) OVER life AS before, lead(to_status) OVER life IS NULL AS is_last
        FROM orders_transition WHERE order_id >= %(horizon)s
        WINDOW life AS (PARTITION BY order_id ORDER BY sequence, array_position(%(life)s, to_status::text))
    )
    SELECT 'orders_transition', format('order_id=%%s sequence=%%s to_status=%%s', order_id, sequence, to_status),
           coalesce(before, 'its beginning at sequence 0'), coalesce(from_status, 'a beginning at sequence ' || sequence),
           format('order %%s: the step to %%s (sequence %%s) says it came from %%s, the history says %%s', order_id, to_status, sequence,
                  coalesce(from_status, 'nothing'), coalesce(before, 'nothing'))
    FROM step WHERE from_status IS DISTINCT FROM before OR (from_status IS NULL AND sequence <> 0)
    UNION ALL
    SELECT 'orders_order', format('id=%%s', coalesce(o.id, s.order_id)), coalesce(s.to_status || ' at ' || s.sequence, 'a history'),
           coalesce(o.status || ' at ' || o.sequence, 'no such order'),
           format('order %%s: its history ends %%s, the order is %%s', coalesce(o.id, s.order_id),
                  coalesce('as ' || s.to_status || ' at sequence ' || s.sequence, 'nowhere'),
                  coalesce(o.status || ' at sequence ' || o.sequence, 'not there'))
    FROM (SELECT * FROM step WHERE is_last) AS s
    FULL JOIN (SELECT * FROM orders_order WHERE id >= %(horizon)s) AS o ON o.id = s.order_id
    WHERE s.to_status IS DISTINCT FROM o.status OR s.sequence > o.sequence
    """,
)

OPEN_ORDERS = Check(
    "open-orders",
    "the table of open orders against the orders that have not ended",
    """
    SELECT 'orders_openorder', format('symbol_id=%%s order_id=%%s', coalesce(n.symbol_id, o.symbol_id), coalesce(n.order_id, o.id)),
           coalesce(format('account %%s on symbol %%s', o.account_id, o.symbol_id), 'no row'),
           coalesce(format('account %%s on symbol %%s', n.account_id, n.symbol_id), 'no row'),
           CASE WHEN n.order_id IS NULL THEN format('order %%s is %%s and missing among the open orders', o.id, o.status)
                WHEN o.id IS NULL THEN format('order %%s is among the open orders but has ended or never was', n.order_id)
                ELSE format('order %%s is among the open orders under another account or symbol', o.id) END
    FROM (SELECT id, account_id, symbol_id, status FROM orders_order WHERE status <> ALL (%(terminal)s)) AS o
    FULL JOIN orders_openorder n ON n.order_id = o.id
    WHERE n.account_id IS DISTINCT FROM o.account_id OR n.symbol_id IS DISTINCT FROM o.symbol_id
    """,
)

COUNTERS = Check(
    "counters",
    "each account's counter of open orders against its orders that have not ended",
    """
    SELECT 'risk_accountstate', format('account_id=%%s', account_id), coalesce(o.orders, 0)::text, coalesce(r.open_orders::text, 'no row'),
           format('account %%s has %%s open orders, its counter says %%s', coalesce(a.name, account_id::text), coalesce(o.orders, 0),
                  coalesce(r.open_orders::text, 'nothing'))
    FROM (SELECT account_id, count(*) AS orders FROM orders_order WHERE status <> ALL (%(terminal)s) GROUP BY account_id) AS o
    FULL JOIN risk_accountstate r USING (account_id) LEFT JOIN institutions_account a ON a.id = account_id
    WHERE coalesce(o.orders, 0) <> coalesce(r.open_orders, 0)
    """,
)

BOOK_LEVELS = Check(
    "book-levels",
    "the book as readers see it against what is left of the orders in it",
    """
    SELECT 'orders_booklevel', format('symbol_id=%%s side=%%s price=%%s', symbol_id, side, trim_scale(price)),
           coalesce(trim_scale(o.left_open)::text, 'no row'), coalesce(trim_scale(b.quantity)::text, 'no row'),
           format('%%s %%s at %%s: orders leave %%s, the book shows %%s', coalesce(s.name, 'symbol ' || symbol_id), side, trim_scale(price),
                  coalesce(trim_scale(o.left_open)::text, 'nothing'), coalesce(trim_scale(b.quantity)::text, 'nothing'))
    FROM (SELECT symbol_id, side, price, sum(quantity - filled_quantity - prevented_quantity) AS left_open FROM orders_order
          WHERE status IN ('OPEN', 'PARTIALLY_FILLED') AND order_type <> 'MARKET' GROUP BY symbol_id, side, price) AS o
    FULL JOIN orders_booklevel b USING (symbol_id, side, price) LEFT JOIN markets_symbol s ON s.id = symbol_id
    WHERE o.left_open IS DISTINCT FROM b.quantity
    """,
)

POSITIONS = Check(
    "positions",
    "each position against all trades of its account: what was bought and sold, and that profit, cost and money paid agree",
    """
    WITH done AS (
        SELECT account_id, symbol_id, sum(quantity) AS quantity, sum(cash) AS cash FROM (
            SELECT CASE taker_side WHEN 'BUY' THEN taker_account_id ELSE maker_account_id END AS account_id, symbol_id, quantity,
                   -price * quantity AS cash FROM orders_trade WHERE id >= %(horizon)s
            UNION ALL
            SELECT CASE taker_side WHEN 'BUY' THEN maker_account_id ELSE taker_account_id END, symbol_id, -quantity, price * quantity
            FROM orders_trade WHERE id >= %(horizon)s
            UNION ALL
            SELECT account_id, symbol_id, quantity, cash FROM orders_carriedposition) AS side
        GROUP BY account_id, symbol_id
    )
    SELECT 'risk_position', format('account_id=%%s symbol_id=%%s', account_id, symbol_id), trim_scale(v.expected)::text,
           coalesce(trim_scale(v.found)::text, 'no row'),
           format('account %%s on symbol %%s: its trades give %%s %%s, its position says %%s', account_id, symbol_id, v.what,
                  trim_scale(v.expected), coalesce(trim_scale(v.found)::text, 'nothing'))
    FROM done d FULL JOIN risk_position p USING (account_id, symbol_id) CROSS JOIN LATERAL (VALUES
        ('a quantity of', coalesce(d.quantity, 0), p.quantity),
        ('a profit of', coalesce(d.cash, 0) + sign(coalesce(p.quantity, 0)) * coalesce(p.cost, 0), p.realised)
    ) AS v (what, expected, found)
    WHERE v.expected IS DISTINCT FROM v.found
    """,
)

EXPOSURES = Check(
    "exposures",
    "what each account's exposure says is open and traded against its open orders, pending amends and trades",
    """
    WITH open AS (
        SELECT account_id, symbol_id, sum(buying) AS buying, sum(spending) AS spending, sum(open_value) AS open_value FROM (
            SELECT account_id, symbol_id, CASE WHEN side = 'BUY' AND quantity IS NOT NULL THEN left_open ELSE 0 END AS buying,
                   CASE WHEN quantity IS NULL THEN quote_quantity ELSE 0 END AS spending,
                   CASE WHEN quantity IS NULL THEN quote_quantity ELSE bound * left_open END AS open_value
            FROM (SELECT *, quantity - filled_quantity - prevented_quantity AS left_open, coalesce(price, protection_price) AS bound
                  FROM orders_order WHERE status <> ALL (%(terminal)s)) AS o
            UNION ALL
            SELECT account_id, symbol_id, extra_quantity, 0, extra_value FROM orders_amend WHERE status = 'PENDING') AS part
        GROUP BY account_id, symbol_id
    ), done AS (
        SELECT account_id, symbol_id, (executed_at AT TIME ZONE 'UTC')::date AS day, sum(value) AS traded FROM (
            SELECT taker_account_id AS account_id, symbol_id, executed_at, price * quantity AS value FROM orders_trade
            WHERE id >= %(horizon)s
            UNION ALL
            SELECT maker_account_id, symbol_id, executed_at, price * quantity FROM orders_trade WHERE id >= %(horizon)s) AS side
        GROUP BY account_id, symbol_id, day
    ), last AS (
        SELECT DISTINCT ON (account_id, symbol_id) account_id, symbol_id, day, traded FROM done ORDER BY account_id, symbol_id, day DESC
    )
    SELECT 'risk_exposure', format('account_id=%%s symbol_id=%%s', account_id, symbol_id), trim_scale(v.expected)::text,
           coalesce(trim_scale(v.found)::text, 'no row'),
           format('account %%s on symbol %%s: orders, amends and trades give %%s %%s, its exposure says %%s', account_id, symbol_id, v.what,
                  trim_scale(v.expected), coalesce(trim_scale(v.found)::text, 'nothing'))
    FROM open o FULL JOIN risk_exposure e USING (account_id, symbol_id) FULL JOIN last d USING (account_id, symbol_id)
    CROSS JOIN LATERAL (VALUES
        ('to buy', coalesce(o.buying, 0), e.buying), ('to spend', coalesce(o.spending, 0), e.spending),
        ('open at own prices', coalesce(o.open_value, 0), e.open_value),
        ('traded on the last day', d.traded, CASE WHEN d.day = e.day THEN e.traded END)
    ) AS v (what, expected, found)
    WHERE v.expected <> v.found OR (v.found IS NULL AND v.expected > 0)
    """,
)

OPENINGS = Check(
    "openings",
    "what each position was before its last day of trading against the trades before that day; and the price each symbol closed at",
    """
    WITH side AS (
        SELECT CASE taker_side WHEN 'BUY' THEN taker_account_id ELSE maker_account_id END AS account_id, symbol_id,
               (executed_at AT TIME ZONE 'UTC')::date AS day, quantity, -price * quantity AS cash FROM orders_trade WHERE id >= %(horizon)s
        UNION ALL
        SELECT CASE taker_side WHEN 'BUY' THEN maker_account_id ELSE taker_account_id END, symbol_id,
               (executed_at AT TIME ZONE 'UTC')::date, -quantity, price * quantity FROM orders_trade WHERE id >= %(horizon)s
    ), days AS (
        SELECT account_id, symbol_id, day, sum(quantity) AS quantity, sum(cash) AS cash FROM side GROUP BY account_id, symbol_id, day
    ), known AS (
        SELECT account_id, symbol_id, p.day, p.opening_quantity, p.opening_cost, p.opening_realised, max(d.day) AS last_day,
               coalesce(sum(d.quantity) FILTER (WHERE d.day < p.day), 0) AS quantity,
               coalesce(sum(d.cash) FILTER (WHERE d.day < p.day), 0) AS cash
        FROM risk_position p JOIN days d USING (account_id, symbol_id) WHERE p.day IS NOT NULL GROUP BY p.account_id, p.symbol_id
    ), carried AS (
        SELECT account_id, symbol_id, sum(quantity) AS quantity, sum(cash) AS cash FROM orders_carriedposition
        GROUP BY account_id, symbol_id
    )
    SELECT 'risk_position', format('account_id=%%s symbol_id=%%s', account_id, symbol_id), v.expected, v.found,
           format('account %%s on symbol %%s: before the day of its last trade its trades give %%s %%s, its position says %%s', account_id,
                  symbol_id, v.what, v.expected, v.found)
    FROM known p LEFT JOIN carried c USING (account_id, symbol_id) CROSS JOIN LATERAL (VALUES
        ('as that day', p.last_day::text, p.day::text),
        ('a quantity of', trim_scale(p.quantity + coalesce(c.quantity, 0))::text, trim_scale(p.opening_quantity)::text),
        ('a profit of', trim_scale(p.cash + coalesce(c.cash, 0) + sign(p.opening_quantity) * p.opening_cost)::text,
         trim_scale(p.opening_realised)::text)
    ) AS v (what, expected, found)
    WHERE v.expected <> v.found
    UNION ALL
    SELECT 'orders_checkpoint', format('symbol_id=%%s', symbol_id), trim_scale(t.price)::text,
           coalesce(trim_scale(c.previous_close)::text, 'nothing'),
           format('symbol %%s: the day before its last trade ended at %%s, its checkpoint says %%s', symbol_id, trim_scale(t.price),
                  coalesce(trim_scale(c.previous_close)::text, 'nothing'))
    FROM orders_checkpoint c JOIN (
        SELECT DISTINCT ON (t.symbol_id) t.symbol_id, t.price FROM orders_trade t JOIN orders_checkpoint c ON c.symbol_id = t.symbol_id
        WHERE t.id >= %(horizon)s AND (t.executed_at AT TIME ZONE 'UTC')::date < (c.last_traded_at AT TIME ZONE 'UTC')::date
        ORDER BY t.symbol_id, t.number DESC) AS t USING (symbol_id)
    WHERE c.previous_close IS DISTINCT FROM t.price
    """,
)

HIGHS = Check(
    "highs",
    "the peak each account's drawdown is measured from against its peaks of 30 days",
    """
    SELECT 'risk_dayresult', format('account_id=%%s day=%%s', account_id, day), trim_scale(expected)::text, trim_scale(high)::text,
           format('account %%s on %%s: its highest result of 30 days is %%s, the row says %%s', account_id, day, trim_scale(expected),
                  trim_scale(high))
    FROM (SELECT account_id, day, high, max(peak) OVER (PARTITION BY account_id ORDER BY day
                                                        RANGE BETWEEN INTERVAL '29 days' PRECEDING AND CURRENT ROW) AS expected
          FROM risk_dayresult) AS d
    WHERE expected <> high
    """,
)

TRADE_NUMBERS = Check(
    "trade-numbers",
    "each symbol's trades: numbered from 1 without a gap, in engine sequence, up to the checkpoint",
    """
    WITH carried AS (
        SELECT symbol_id, max(number) AS number, max(sequence) AS sequence FROM orders_carriedtrade GROUP BY symbol_id
    ), numbered AS (
        SELECT t.id, symbol_id, t.number, t.sequence, coalesce(lag(t.number) OVER w, c.number) AS number_before,
               coalesce(lag(t.sequence) OVER w, c.sequence) AS sequence_before
        FROM orders_trade t LEFT JOIN carried c USING (symbol_id) WHERE t.id >= %(horizon)s
        WINDOW w AS (PARTITION BY symbol_id ORDER BY t.number, t.id)
    ), reached AS (
        SELECT symbol_id, max(number) AS number, max(sequence) AS sequence FROM (
            SELECT symbol_id, number, sequence FROM orders_trade WHERE id >= %(horizon)s
            UNION ALL
            SELECT symbol_id, number, sequence FROM carried) AS part
        GROUP BY symbol_id
    )
    SELECT 'orders_trade', format('id=%%s', id), (coalesce(number_before, 0) + 1)::text, number::text,
           format('trade %%s of symbol %%s is number %%s after number %%s', id, symbol_id, number, coalesce(number_before, 0))
    FROM numbered WHERE number <> coalesce(number_before, 0) + 1
    UNION ALL
    SELECT 'orders_trade', format('id=%%s', id), format('sequence %%s or later', sequence_before), format('sequence %%s', sequence),
           format('trade %%s (number %%s of symbol %%s) happened at sequence %%s, the trade before it at %%s', id, number, symbol_id,
                  sequence, sequence_before)
    FROM numbered WHERE sequence < sequence_before
    UNION ALL
    SELECT 'orders_checkpoint', format('symbol_id=%%s', symbol_id), format('trade number %%s', coalesce(r.number, 0)),
           coalesce('trade number ' || c.trade_number, 'no row'),
           format('symbol %%s: its last trade is number %%s, its checkpoint %%s', symbol_id, coalesce(r.number, 0),
                  coalesce('says ' || c.trade_number, 'is missing'))
    FROM reached r FULL JOIN orders_checkpoint c USING (symbol_id) WHERE coalesce(r.number, 0) <> coalesce(c.trade_number, 0)
    UNION ALL
    SELECT 'orders_checkpoint', format('symbol_id=%%s', symbol_id), format('sequence %%s or later', r.sequence),
           format('sequence %%s', c.sequence),
           format('symbol %%s: its last trade happened at sequence %%s, its checkpoint is at %%s', symbol_id, r.sequence, c.sequence)
    FROM reached r JOIN orders_checkpoint c USING (symbol_id) WHERE r.sequence > c.sequence
    """,
)

COMMAND_LOG = Check(
    "command-log",
    "each symbol's command log, as far as it has not left: no command missing, every hash recomputed, its end is the checkpoint",
    """
    WITH start AS (
        SELECT DISTINCT ON (symbol_id) symbol_id, sequence, chain, state_hash FROM orders_anchor WHERE kind = 'DETACHED'
        ORDER BY symbol_id, sequence DESC
    ), entry AS MATERIALIZED (
        SELECT symbol_id, l.first_sequence, l.last_sequence, l.settled_at, l.chain, l.state_hash,
               coalesce(lag(l.last_sequence) OVER w, a.sequence, 0) + 1 AS expected_first,
               sha256(coalesce(lag(l.chain) OVER w, a.chain, sha256(''::bytea)) || convert_to(concat_ws(
                   '|', symbol_id, l.first_sequence, l.last_sequence, l.epoch, l.stamp_ms, l.state_hash, ''), 'UTF8') || l.payload
               ) AS expected_chain,
               lead(l.first_sequence) OVER w IS NULL AS is_last
        FROM orders_commandlog l LEFT JOIN start a USING (symbol_id) WHERE l.first_sequence > coalesce(a.sequence, 0)
        WINDOW w AS (PARTITION BY symbol_id ORDER BY l.first_sequence, l.settled_at)
    ), log_end AS (
        SELECT symbol_id, last_sequence, chain, state_hash FROM entry WHERE is_last
        UNION ALL
        SELECT symbol_id, sequence, chain, state_hash FROM start WHERE symbol_id NOT IN (SELECT symbol_id FROM entry)
    )
    SELECT 'orders_commandlog', format('symbol_id=%%s first_sequence=%%s settled_at=%%s', symbol_id, first_sequence, settled_at),
           format('first_sequence %%s', expected_first), format('first_sequence %%s', first_sequence),
           format('the command log of symbol %%s goes on at %%s where %%s was due', symbol_id, first_sequence, expected_first)
    FROM entry WHERE first_sequence <> expected_first
    UNION ALL
    SELECT 'orders_commandlog', format('symbol_id=%%s first_sequence=%%s settled_at=%%s', symbol_id, first_sequence, settled_at),
           encode(expected_chain, 'hex'), encode(chain, 'hex'),
           format('commands %%s to %%s of symbol %%s: their hash does not follow from the one before and the entry', first_sequence,
                  last_sequence, symbol_id)
    FROM entry WHERE chain <> expected_chain
    UNION ALL
    SELECT 'orders_checkpoint', format('symbol_id=%%s', coalesce(c.symbol_id, e.symbol_id)), v.expected, coalesce(v.found, 'no row'),
           format('symbol %%s: its command log ends with %%s %%s, its checkpoint says %%s', coalesce(c.symbol_id, e.symbol_id), v.field,
                  v.expected, coalesce(v.found, 'nothing'))
    FROM log_end AS e FULL JOIN orders_checkpoint c USING (symbol_id)
    CROSS JOIN LATERAL (VALUES
        ('sequence', coalesce(e.last_sequence, 0)::text, c.sequence::text),
        ('chain', encode(coalesce(e.chain, sha256(''::bytea)), 'hex'), encode(c.chain, 'hex')),
        ('state hash', e.state_hash::text, c.state_hash::text)
    ) AS v (field, expected, found)
    WHERE v.expected <> v.found OR (v.field = 'sequence' AND v.found IS NULL)
    """,
)

WAITING = Check(
    "waiting",
    "orders and amends that wait for the engine against the commands in the inbox",
    """
    SELECT 'orders_inbox', format('symbol_id=%%s', w.symbol_id), format('at least %%s commands', w.waiting),
           format('%%s commands', coalesce(i.commands, 0)),
           format('symbol %%s: %%s orders and amends are pending, the inbox has %%s commands for it', w.symbol_id, w.waiting,
                  coalesce(i.commands, 0))
    FROM (SELECT symbol_id, sum(waiting) AS waiting FROM (
              SELECT symbol_id, count(*) AS waiting FROM orders_order WHERE status = 'PENDING' GROUP BY symbol_id
              UNION ALL
              SELECT symbol_id, count(*) FROM orders_amend WHERE status = 'PENDING' GROUP BY symbol_id) AS part
          GROUP BY symbol_id) AS w
    LEFT JOIN (SELECT symbol_id, sum(commands) AS commands FROM orders_inbox GROUP BY symbol_id) AS i USING (symbol_id)
    WHERE w.waiting > coalesce(i.commands, 0)
    """,
)

KEYS = Check(
    "keys",
    "the keys of idempotency against the orders they stand for",
    """
    SELECT 'orders_orderkey', format('account_id=%%s client_order_id=%%s', coalesce(o.account_id, k.account_id),
                                     coalesce(o.client_order_id, k.client_order_id)),
           coalesce(format('a key of order %%s', o.id), 'no key'), coalesce(format('a key of order %%s', k.order_id), 'no key'),
           CASE WHEN o.id IS NULL THEN format('key %%s of account %%s stands for order %%s, which says otherwise or is not there',
                                              k.client_order_id, k.account_id, k.order_id)
                ELSE format('order %%s of account %%s has no key for its client_order_id %%s', o.id, o.account_id, o.client_order_id) END
    FROM orders_order o FULL JOIN orders_orderkey k
        ON k.order_id = o.id AND k.account_id = o.account_id AND k.client_order_id = o.client_order_id
    WHERE (o.id IS NULL AND k.order_id >= %(horizon)s) OR k.order_id IS NULL
    """,
)

GUARDS = Check(
    "guards",
    "the database's own guards: triggers there and on, tenants' tables bound, nothing told to pass over triggers",
    GUARDS_SQL,
)

CHECKS: Final = (
    SUMS,
    BALANCES,
    SUPPLY,
    HOLDS,
    ORDER_HOLDS,
    FILLS,
    WHOLE,
    PARTIES,
    FEES,
    TRADE_TRANSFERS,
    POSITIONS,
    EXPOSURES,
    OPENINGS,
    HIGHS,
    TRANSITIONS,
    OPEN_ORDERS,
    COUNTERS,
    BOOK_LEVELS,
    TRADE_NUMBERS,
    COMMAND_LOG,
    WAITING,
    KEYS,
    GUARDS,
)

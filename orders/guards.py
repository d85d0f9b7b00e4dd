"""The triggers that keep history, money and states as they are, and the query that finds one that is off or gone.

The list is written here and not read from the database, so that whoever drops a trigger cannot take it off the list. A test holds it
against a migrated database: a new guard must be entered.
"""

from typing import Final

# Table → its triggers, without those of partitions, which follow their parents.
GUARDED: Final[dict[str, str]] = {
    "institutions_account": "account_house account_identity account_state account_unfreeze refuse_delete refuse_renumber refuse_truncate",
    "institutions_apikey": "apikey_account apikey_scopes",
    "institutions_auditentry": "append_only append_only_truncate",
    "institutions_changerequest": "refuse_delete refuse_renumber refuse_truncate request_check",
    "institutions_institution": "institution_house institution_unfreeze",
    "institutions_platform": "platform_unfreeze refuse_delete refuse_renumber refuse_truncate",
    "markets_asset": "asset_scale refuse_delete refuse_renumber refuse_truncate",
    "markets_marketfeed": "marketfeed_never_back refuse_delete refuse_renumber refuse_truncate",
    "markets_symbol": "refuse_delete refuse_renumber refuse_truncate symbol_fees symbol_fees_approved symbol_grid",
    "notifications_consumerposition": "position_kept position_never_back position_no_truncate",
    "notifications_deadletter": "dead_letter_settled_once refuse_delete refuse_renumber refuse_truncate",
    "notifications_feed": "feed_never_back refuse_delete refuse_renumber refuse_truncate",
    "notifications_receipt": "receipt_kept receipt_no_truncate receipt_unchanged",
    "orders_anchor": "anchor_check append_only append_only_truncate",
    "orders_archivedpartition": "append_only append_only_truncate maintenance_only",
    "orders_break": "begins_open refuse_delete refuse_renumber refuse_truncate stays_over",
    "orders_carriedposition": "append_only append_only_truncate maintenance_only",
    "orders_carriedtrade": "append_only append_only_truncate maintenance_only",
    "orders_checkpoint": "checkpoint_hands checkpoint_never_back checkpoint_places_never_back",
    "orders_closedmonth": "append_only append_only_truncate closedmonth_check maintenance_only",
    "orders_commandlog": "append_only append_only_truncate",
    "orders_order": "order_begin order_check order_frozen order_move order_refuse_delete order_refuse_truncate",
    "orders_orderkey": "append_only append_only_truncate",
    "orders_shard": "shard_never_back",
    "orders_symbolmove": "refuse_delete refuse_renumber refuse_truncate symbolmove_step",
    "orders_symbolstatus": "append_only append_only_truncate",
    "orders_trade": "append_only append_only_truncate",
    "orders_transition": "append_only append_only_truncate",
    "risk_accountlink": "ended_for_good refuse_delete refuse_renumber refuse_truncate",
    "risk_alert": "alert_begin alert_told refuse_delete refuse_renumber refuse_truncate step_is_legal",
    "risk_alertaccount": "append_only append_only_truncate",
    "risk_alertevidence": "append_only append_only_truncate",
    "risk_alerthistory": "alerthistory_true append_only append_only_truncate",
    "risk_alertnote": "append_only append_only_truncate",
    "risk_dayresult": "refuse_delete refuse_renumber refuse_truncate",
    "risk_exposure": "refuse_delete refuse_renumber refuse_truncate",
    "risk_limit": "limit_changed limit_lifted refuse_truncate",
    "risk_portfoliosnapshot": "append_only append_only_truncate known_account",
    "risk_position": "refuse_delete refuse_renumber refuse_truncate",
    "risk_signal": "append_only append_only_truncate known_account",
    "risk_watchedmark": "ended_for_good refuse_delete refuse_renumber refuse_truncate",
    "risk_watermark": "refuse_delete refuse_renumber refuse_truncate watermark_never_back",
    "wallet_address": "refuse_delete refuse_renumber refuse_truncate wallet_address_guard",
    "wallet_balance": "refuse_delete refuse_renumber refuse_truncate",
    "wallet_carriedsum": "append_only append_only_truncate carriedsum_check maintenance_only",
    "wallet_supply": "refuse_delete refuse_renumber refuse_truncate",
    "wallet_transfer": "append_only append_only_truncate movement_guard transfer_check",
    "wallet_transferkey": "append_only append_only_truncate",
    "wallet_withdrawal": "refuse_delete refuse_renumber refuse_truncate withdrawal_guard withdrawal_paid withdrawal_step",
    "wallet_withdrawallimit": "refuse_delete refuse_renumber refuse_truncate withdrawallimit_guard",
    "wallet_withdrawalstep": "append_only append_only_truncate withdrawalstep_guard",
}

GUARDS_SQL: Final = """
    SELECT p.relname, 'trigger=' || p.tgname, 'on', p.state, format('trigger %%s of %%s is %%s', p.tgname, p.relname, p.state)
    FROM (
        SELECT c.relname::text, t.tgname::text, CASE t.tgenabled WHEN 'D' THEN 'off' ELSE 'on for replicas only' END AS state
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND t.tgenabled NOT IN ('O', 'A')
            AND NOT EXISTS (SELECT FROM pg_trigger u WHERE u.oid = t.tgparentid AND u.tgenabled = t.tgenabled)
        UNION ALL
        SELECT split_part(g, ' ', 1), split_part(g, ' ', 2), 'gone' FROM unnest(%(guards)s::text[]) AS g
        WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = to_regclass('public.' || split_part(g, ' ', 1))
                          AND t.tgname = split_part(g, ' ', 2))
    ) AS p
    UNION ALL
    SELECT c.relname::text, 'row_level_security', 'enabled and forced', 'not', format('%%s is not bound to its tenants', c.relname)
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
        AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
    UNION ALL
    SELECT 'pg_db_role_setting', format('database=%%s role=%%s', s.setdatabase, s.setrole), 'no session_replication_role', configured,
           format('the database is told to begin sessions with %%s: then no trigger works', configured)
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS configured
    WHERE configured LIKE 'session_replication_role=%%' AND configured <> 'session_replication_role=origin'
        AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    UNION ALL
    SELECT 'pg_settings', 'session_replication_role', 'origin', setting, format('sessions begin with session_replication_role=%%s', setting)
    FROM pg_settings WHERE name = 'session_replication_role' AND setting <> 'origin'
    """

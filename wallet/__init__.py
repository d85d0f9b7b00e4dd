"""Whose money it is: transfers, balances and holds.

Owns: the append-only transfer ledger, one balance row per account and asset, holds.
Never: orders (they appear only as an opaque reference), prices, HTTP.
"""

"""What can be traded: assets with their scale, symbols with their trading rules and status, exact units.

Owns: rules of a symbol, conversion between decimals and integer ticks and lots (`units`).
Never: orders, money, accounts.
"""

"""The life of an order: intake, the table of legal moves, settlement of what the book decided, cross-checks.

Owns: orders, their history, trades, the inbox of the matching workers, command log and checkpoints, reconciliation.
Never: matching itself, HTTP, the format of a client's request.
"""

"""What processes tell of themselves: figures in files that any process can read (`files`, `families`, `text`), and what keeps
log lines together and secrets out of them (`correlation`, `redaction`).

Knows no figure by name: those are declared in `exchange_platform.metrics`.
"""

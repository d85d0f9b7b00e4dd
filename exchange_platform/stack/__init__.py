"""The supervisor behind `manage.py stack`: starts, watches, replaces and stops every process of the exchange.

It imports the standard library alone (no Django, no driver) so that it stays small and starts at once. It owns the
home folder (STACK_HOME): lock, secrets, logs, stack.json, the data of the embedded servers. It knows no rule of trading.
"""

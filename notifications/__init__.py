"""Carries messages between processes and, later, to people; knows nobody.

Owns: wake-ups between processes (`wakeups`, PostgreSQL LISTEN/NOTIFY).
Never: what a message means.
"""

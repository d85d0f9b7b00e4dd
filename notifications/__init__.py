"""Carries messages between processes and, later, to people; knows nobody.

Owns: wake-ups between processes (`wakeups`, PostgreSQL LISTEN/NOTIFY), the outbox and its relay, the sequences of private channels.
Never: what a message means.
"""

"""The matching core: plain Python, integer ticks and lots, no clock, no I/O, no Django.

Owns: the order book of one symbol and the rules by which orders meet (price, then time).
Never: money, accounts' balances, persistence, wall-clock time, randomness. A command goes in,
events come out; the same commands in the same order always give the same events.
"""

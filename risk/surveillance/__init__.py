"""Market abuse detection after the trade: pure functions over plain values.

Owns: the detectors, what they are set to, how suspicions add up to a score. A detector reads a `Scene` (trades and orders of one symbol,
in order, and who owns which account) and returns `Finding`s. Never: a clock, a database, Django. `risk.post_trade` reads scenes and
writes what was found.
"""

"""Whether an order may be taken: limits and the counters they need.

Owns: limits and symbol rules by platform, institution, account and symbol (the strictest wins), per-account counters, exposure, positions
and results, the risk score, pure `checks`.
Never: money, matching, HTTP.
"""

"""Whether an order may be taken: limits and the counters they need.

Owns: limits by platform, institution, account and symbol (the strictest wins), per-account counters, pure `checks`.
Never: money, matching, HTTP.
"""

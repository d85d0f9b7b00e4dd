"""Who takes part: institutions (tenants), their people, trading accounts, API keys, and the audit trail.

Owns: identity, roles, key secrets (encrypted at rest), the platform's and institutions' frozen flags, spent signatures.
Never: money, orders, HTTP.
"""

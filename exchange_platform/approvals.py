"""What takes two people: the one table of kinds of change requests. Rooms are named here, not imported."""

from typing import Final

# kind → `institutions.requests.Change`
CHANGES: Final = {
    "account.unfreeze": "institutions.unfreezing.UnfreezeAccount",
    "institution.unfreeze": "institutions.unfreezing.UnfreezeInstitution",
    "platform.unfreeze": "institutions.unfreezing.UnfreezePlatform",
    "api_key.scopes": "institutions.key_scopes.ChangeScopes",
    "limit.change": "risk.limit_changes.ChangeLimit",
    "symbol.fees": "markets.fee_changes.ChangeFees",
    "wallet.adjustment": "wallet.adjustments.Adjustment",
    "wallet.correction": "wallet.adjustments.Correction",
    "withdrawal.approve": "wallet.withdrawal_requests.ApproveWithdrawal",
    "withdrawal.limit": "wallet.withdrawal_requests.ChangeWithdrawalLimit",
    "symbol.resume": "orders.resuming.ResumeSymbol",
}

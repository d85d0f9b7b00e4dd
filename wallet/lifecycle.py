"""The life of a withdrawal as one table. The database has the same moves in a trigger; a test tries every pair against both."""

from typing import Final

from wallet.models import WithdrawalState

MOVES: Final[dict[str, frozenset[str]]] = {
    WithdrawalState.REQUESTED: frozenset({WithdrawalState.APPROVED, WithdrawalState.REJECTED, WithdrawalState.CANCELLED}),
    WithdrawalState.APPROVED: frozenset({WithdrawalState.COMPLETED, WithdrawalState.FAILED, WithdrawalState.CANCELLED}),
    WithdrawalState.COMPLETED: frozenset(),
    WithdrawalState.FAILED: frozenset(),
    WithdrawalState.CANCELLED: frozenset(),
    WithdrawalState.REJECTED: frozenset(),
}
PENDING: Final = frozenset(state for state, moves in MOVES.items() if moves)  # the money is held

"""A position: what an account has bought and sold of one symbol, net, and what that cost. Integers: lots, and units of quote.

Fees are left aside (they are transfers of their own), and so is what came or went by other ways than trades. At any moment
realised = money in − money out + cost (long), or − cost (short): reconciliation checks it against the trades.
"""


class Position:
    """`lots` > 0 is long, < 0 short (sold what was deposited). `cost`: what the open lots were bought (short: sold) for, not negative."""

    __slots__ = ("cost", "lots", "realised")

    def __init__(self, lots: int = 0, cost: int = 0, realised: int = 0) -> None:
        self.lots = lots
        self.cost = cost
        self.realised = realised

    def trade(self, lots: int, value: int) -> None:
        """Bought (lots > 0) or sold (< 0) at a total `value`. Average cost; what does not divide stays in the cost of what is left."""
        before = self.lots
        self.lots = before + lots
        if before == 0 or (before > 0) == (lots > 0):
            self.cost += value
            return
        size, closing = abs(before), min(abs(before), abs(lots))
        closed = self.cost * closing // size
        closed_value = value * closing // abs(lots)
        self.realised += closed_value - closed if before > 0 else closed - closed_value
        self.cost += value - closed_value - closed

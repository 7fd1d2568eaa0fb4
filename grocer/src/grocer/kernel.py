"""What every service of Grocer means by the same word."""

from decimal import ROUND_HALF_EVEN, Decimal

from colonnade.messages import Value

__all__ = ["CURRENCY", "ZERO", "Money"]

CURRENCY = "USD"
"""The one currency of the shop (ISO 4217), stated where Grocer talks to the outside."""

_CENT = Decimal("0.01")


class Money(Value):
    """An amount of US dollars, exact.

    A price may have a fraction of a cent, as a milligallon of petrol has; what is charged has none: `price * quantity`
    is rounded to whole cents, half to even, so that sums of lines are exact and rounding happens once a line.
    """

    amount: Decimal

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + other.amount)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - other.amount)

    def __mul__(self, quantity: int) -> "Money":
        """What `quantity` of something at this price costs, in whole cents."""
        return Money((self.amount * quantity).quantize(_CENT, ROUND_HALF_EVEN))


ZERO = Money(Decimal("0.00"))
"""Nothing: where a sum starts."""

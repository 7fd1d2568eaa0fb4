"""What the books say about the laws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from grocer.kernel import ZERO, Money

__all__ = ["Breach", "Figures", "Law", "Verdict"]


class Law(StrEnum):
    """A sentence that holds; the first two always, the others for what has settled."""

    GOODS = "goods on hand + reserved + sold = goods received"
    CHARGES = "nobody is charged twice"
    MONEY = "captured - refunded = value of confirmed orders"
    ENDS = "every order has ended"
    BASKETS = "every accepted basket is an order"


@dataclass(frozen=True, slots=True)
class Breach:
    """What contradicts a law, or does not fulfil it yet: an order, a shelf, a charge, and why."""

    law: Law
    of: str
    why: str


@dataclass(slots=True)
class Figures:
    """How much was judged; money of all settled orders together."""

    orders: int = 0
    settled: int = 0
    shelves: int = 0
    charges: int = 0
    captured: Money = ZERO
    refunded: Money = ZERO
    confirmed: Money = ZERO


@dataclass(slots=True)
class Verdict:
    """Laws are broken by `broken`; `unsettled` is what may still fulfil them, and has not yet."""

    broken: list[Breach] = field(default_factory=list)
    unsettled: list[Breach] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)

    def of(self, law: Law) -> tuple[Sequence[Breach], Sequence[Breach]]:
        """What breaks a law, and what has not settled."""
        return [each for each in self.broken if each.law is law], [each for each in self.unsettled if each.law is law]

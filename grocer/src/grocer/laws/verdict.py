"""What the books say about the laws."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from grocer.kernel import ZERO, Money

__all__ = ["Breach", "Figures", "Law", "Verdict", "order_named"]


class Law(StrEnum):
    """A sentence that holds; the first three always, the others for what has settled."""

    GOODS = "goods on hand + reserved + sold = goods received"
    CHARGES = "nobody is charged twice"
    TAKEN = "captured <= charged, refunded <= charged"
    MONEY = "captured - refunded = value of confirmed orders"
    HANDED_OUT = "goods sold = goods of confirmed orders"
    ENDS = "every order has ended"
    BASKETS = "every accepted basket is an order"


def order_named(order_id: UUID) -> str:
    """How a breach names an order."""
    return f"order {order_id}"


@dataclass(frozen=True, slots=True)
class Breach:
    """What contradicts a law, or does not fulfil it yet: an order, a shelf, a basket, and why."""

    law: Law
    of: str
    why: str


@dataclass(slots=True)
class Figures:
    """How much was judged: orders and money of those that have settled, events of shelves.

    `charges` is None where the processor's ledger is not in the data directory: then payments' own word is taken.
    """

    orders: int = 0
    settled: int = 0
    shelves: int = 0
    movements: int = 0
    charges: int | None = None
    captured: Money = ZERO
    refunded: Money = ZERO
    confirmed: Money = ZERO
    sold: int = 0


@dataclass(slots=True)
class Verdict:
    """Laws are broken by `broken`; `unsettled` is what may still fulfil them, and has not yet."""

    broken: list[Breach] = field(default_factory=list)
    unsettled: list[Breach] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)

    def of(self, law: Law) -> tuple[Sequence[Breach], Sequence[Breach]]:
        """What breaks a law, and what has not settled."""
        return [each for each in self.broken if each.law is law], [each for each in self.unsettled if each.law is law]

    def unsettled_among(self, orders: Collection[UUID]) -> Sequence[Breach]:
        """What has not settled of these orders."""
        names = {order_named(order_id) for order_id in orders}
        return [each for each in self.unsettled if each.of in names]

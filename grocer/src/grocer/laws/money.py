"""The money: what payments wrote down, and what the card processor's own ledger says."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw

from grocer.kernel import ZERO, Money
from grocer.laws.verdict import Breach, Law
from grocer.payments.domain.payment import PaymentCaptured, PaymentRefunded

__all__ = ["PAYMENTS", "Charged", "Payments", "charges_in"]

PAYMENTS = (PaymentCaptured, PaymentRefunded)


@dataclass(slots=True)
class _Paid:
    captured: Money = ZERO
    refunded: Money = ZERO


class Payments:
    """Follows the payment of each order."""

    def __init__(self) -> None:
        self._paid: dict[UUID, _Paid] = {}
        self._captures = Counter[UUID]()
        self.breaches: list[Breach] = []

    def follow(self, event: PaymentCaptured | PaymentRefunded) -> None:
        """Take in one event of a payment."""
        paid = self._paid.setdefault(event.order_id, _Paid())
        match event:
            case PaymentCaptured():
                paid.captured += event.amount
                self._captures[event.order_id] += 1
                if self._captures[event.order_id] > 1:
                    why = f"payments captured {self._captures[event.order_id]} times"
                    self.breaches.append(Breach(Law.CHARGES, f"order {event.order_id}", why))
            case PaymentRefunded():
                paid.refunded += event.amount

    def of(self, order_id: UUID) -> tuple[Money, Money]:
        """What was captured for an order, and refunded."""
        paid = self._paid.get(order_id)
        return (paid.captured, paid.refunded) if paid is not None else (ZERO, ZERO)

    def orders(self) -> Iterator[UUID]:
        """The orders for which money moved."""
        return iter(self._paid)


@dataclass(frozen=True, slots=True)
class Charged:
    """What the card processor charged for an order, in how many charges, and gave back."""

    charges: int
    charged: Money
    refunded: Money


def charges_in(ledger: Path) -> dict[UUID, Charged]:
    """The successful charges in the card processor's ledger, by order; raises `apsw.Error`."""
    connection = apsw.Connection(str(ledger), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows: list[Any] = connection.execute(
            "SELECT reference, count(*), sum(cents), sum(refunded_cents) FROM charges "
            "WHERE status = 'succeeded' GROUP BY reference"
        ).fetchall()
    finally:
        connection.close()
    return {
        UUID(reference): Charged(count, _dollars(cents), _dollars(refunded))
        for reference, count, cents, refunded in rows
    }


def _dollars(cents: int) -> Money:
    return Money(Decimal(cents).scaleb(-2))

"""The money: what payments wrote down, and what the card processor's own ledger says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
from colonnade.persistence.failures import StoreFailed

from grocer.kernel import ZERO, Money
from grocer.laws.verdict import Breach, Law, order_named
from grocer.payments.domain.payment import PaymentCaptured, PaymentRefunded

__all__ = ["PAYMENTS", "UNCHARGED", "Charged", "Payments", "charges_in"]

PAYMENTS = (PaymentCaptured, PaymentRefunded)


@dataclass(frozen=True, slots=True)
class Charged:
    """What the card processor charged for an order, in how many charges, and gave back."""

    charges: int
    charged: Money
    refunded: Money


UNCHARGED = Charged(0, ZERO, ZERO)


@dataclass(slots=True)
class _Paid:
    captures: int = 0
    captured: Money = ZERO
    refunded: Money = ZERO


class Payments:
    """Follows the payment of each order."""

    def __init__(self) -> None:
        self._paid: dict[UUID, _Paid] = {}
        self.breaches: list[Breach] = []

    def follow(self, event: PaymentCaptured | PaymentRefunded) -> None:
        """Take in one event of a payment."""
        paid = self._paid.get(event.order_id)
        if paid is None:
            paid = self._paid[event.order_id] = _Paid()
        match event:
            case PaymentCaptured():
                paid.captured += event.amount
                paid.captures += 1
                if paid.captures > 1:
                    why = f"payments captured {paid.captures} times"
                    self.breaches.append(Breach(Law.CHARGES, order_named(event.order_id), why))
            case PaymentRefunded():
                paid.refunded += event.amount

    def of(self, order_id: UUID) -> tuple[Money, Money]:
        """What was captured for an order, and refunded."""
        paid = self._paid.get(order_id)
        return (paid.captured, paid.refunded) if paid is not None else (ZERO, ZERO)

    def against(self, charges: Mapping[UUID, Charged] | None) -> Iterator[Breach]:
        """Where payments say more than the processor did, whose ledger was read after their log.

        Without a ledger, what they captured themselves is taken for charged.
        """
        for order_id, paid in self._paid.items():
            charged = paid.captured if charges is None else charges.get(order_id, UNCHARGED).charged
            if paid.captured.amount > charged.amount or paid.refunded.amount > charged.amount:
                why = (
                    f"{paid.captured.amount} was captured and {paid.refunded.amount} refunded, and {charged.amount} "
                    "was charged"
                )
                yield Breach(Law.TAKEN, order_named(order_id), why)


def charges_in(ledger: Path) -> dict[UUID, Charged]:
    """The successful charges in the card processor's ledger, by order; raises `StoreFailed`."""
    try:
        connection = apsw.Connection(str(ledger), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            rows: list[Any] = connection.execute(
                "SELECT reference, count(*), sum(cents), sum(refunded_cents) FROM charges "
                "WHERE status = 'succeeded' GROUP BY reference"
            ).fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise StoreFailed(str(ledger), str(error)) from error
    try:
        return {
            UUID(reference): Charged(count, _dollars(cents), _dollars(refunded))
            for reference, count, cents, refunded in rows
        }
    except ValueError as error:
        raise StoreFailed(str(ledger), f"a charge's reference is no order: {error}") from error


def _dollars(cents: int) -> Money:
    return Money(Decimal(cents).scaleb(-2))

"""The payment of one order."""

from enum import StrEnum
from typing import Self
from uuid import UUID

from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Event

from grocer.kernel import Money

__all__ = [
    "CardDeclined",
    "Payment",
    "PaymentCaptured",
    "PaymentDeclined",
    "PaymentRefunded",
    "PaymentRequested",
    "PaymentStatus",
    "RefundRequested",
]


class PaymentStatus(StrEnum):
    """How far a payment is."""

    REQUESTED = "requested"
    CAPTURED = "captured"
    DECLINED = "declined"
    REFUND_REQUESTED = "refund requested"
    REFUNDED = "refunded"


class PaymentRequested(Event):
    """The card is to be charged."""

    order_id: UUID
    customer_id: UUID
    amount: Money


class PaymentCaptured(Event):
    """The card was charged."""

    order_id: UUID
    amount: Money


class PaymentDeclined(Event):
    """The card processor would not charge the card."""

    order_id: UUID


class RefundRequested(Event):
    """The money is to be given back, should it have been taken."""

    order_id: UUID
    amount: Money


class PaymentRefunded(Event):
    """The money was given back; `amount` is zero when none had been taken."""

    order_id: UUID
    amount: Money


class CardDeclined(Conflict):
    """The card was declined."""

    order_id: UUID


class Payment(Aggregate[PaymentRequested | PaymentCaptured | PaymentDeclined | RefundRequested | PaymentRefunded]):
    """One payment, known by its order."""

    status: PaymentStatus
    amount: Money
    captured: bool

    @classmethod
    def request(cls, order_id: UUID, customer_id: UUID, amount: Money) -> Self:
        """A new payment, on its way to the card processor."""
        payment = cls(order_id)
        payment.record(PaymentRequested(order_id, customer_id, amount))
        return payment

    def capture(self) -> None:
        """The processor charged the card."""
        self.record(PaymentCaptured(self.id, self.amount))

    def decline(self) -> None:
        """The processor refused the card."""
        self.record(PaymentDeclined(self.id))

    def request_refund(self) -> bool:
        """Ask for the money back; False when there is nothing to give back or it was asked for before."""
        if self.status not in (PaymentStatus.REQUESTED, PaymentStatus.CAPTURED):
            return False
        self.record(RefundRequested(self.id, self.amount))
        return True

    def refund(self, amount: Money) -> None:
        """The processor gave the money back."""
        self.record(PaymentRefunded(self.id, amount))

    def apply(
        self, event: PaymentRequested | PaymentCaptured | PaymentDeclined | RefundRequested | PaymentRefunded
    ) -> None:
        """Follow what happened; a refund that was asked for is not forgotten by a late answer of the processor."""
        match event:
            case PaymentRequested():
                self.status, self.amount, self.captured = PaymentStatus.REQUESTED, event.amount, False
            case PaymentCaptured():
                self.captured = True
                if self.status is PaymentStatus.REQUESTED:
                    self.status = PaymentStatus.CAPTURED
            case PaymentDeclined():
                if self.status is PaymentStatus.REQUESTED:
                    self.status = PaymentStatus.DECLINED
            case RefundRequested():
                self.status = PaymentStatus.REFUND_REQUESTED
            case PaymentRefunded():
                self.status = PaymentStatus.REFUNDED

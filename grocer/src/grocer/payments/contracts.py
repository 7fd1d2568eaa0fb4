"""What other services may ask of payments."""

from uuid import UUID

from colonnade.messages import Command

from grocer.kernel import Money

__all__ = ["RefundPayment", "TakePayment"]


class TakePayment(Command):
    """Charge the customer's card for an order; answered when the card processor has decided."""

    order_id: UUID
    customer_id: UUID
    amount: Money


class RefundPayment(Command):
    """Give back what was taken for an order, if anything was."""

    order_id: UUID

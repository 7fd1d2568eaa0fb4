"""What can be asked about payments."""

from uuid import UUID

from colonnade.messages import Query, Value

from grocer.kernel import Money
from grocer.payments.domain.payment import PaymentStatus

__all__ = ["PaymentView", "PaymentsOfOrder"]


class PaymentView(Value):
    """The payment of an order: what was asked for, and what was taken and given back so far."""

    order_id: UUID
    status: PaymentStatus
    amount: Money
    captured: Money
    refunded: Money


class PaymentsOfOrder(Query[tuple[PaymentView, ...]]):
    """The payments of an order: none, or one."""

    order_id: UUID

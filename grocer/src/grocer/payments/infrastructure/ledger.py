"""Payments as rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from colonnade.application import Projection, Write, change, upsert
from colonnade.messages import Metadata
from colonnade.persistence import Reads
from sqlalchemy import Column, MetaData, Numeric, String, Table, Uuid, select

from grocer.kernel import Money
from grocer.payments.application.queries import PaymentsOfOrder, PaymentView
from grocer.payments.domain.payment import (
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentRequested,
    PaymentStatus,
    RefundRequested,
)

__all__ = ["Payments", "PaymentsOfOrderHandler", "payments"]

payments = Table(
    "payments",
    MetaData(),
    Column("order_id", Uuid, primary_key=True),
    Column("status", String, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("captured", Numeric, nullable=False),
    Column("refunded", Numeric, nullable=False),
)


class Payments(Projection[PaymentRequested | PaymentCaptured | PaymentDeclined | RefundRequested | PaymentRefunded]):
    """One row a payment."""

    tables = (payments,)

    def on(
        self,
        event: PaymentRequested | PaymentCaptured | PaymentDeclined | RefundRequested | PaymentRefunded,
        meta: Metadata,
    ) -> Write | Sequence[Write]:
        order_id = event.order_id
        match event:
            case PaymentRequested():
                nothing = Decimal("0.00")
                return upsert(
                    payments,
                    order_id=order_id,
                    status=PaymentStatus.REQUESTED,
                    amount=event.amount.amount,
                    captured=nothing,
                    refunded=nothing,
                )
            case PaymentCaptured():
                return change(payments, order_id=order_id, status=PaymentStatus.CAPTURED, captured=event.amount.amount)
            case PaymentDeclined():
                return change(payments, order_id=order_id, status=PaymentStatus.DECLINED)
            case RefundRequested():
                return change(payments, order_id=order_id, status=PaymentStatus.REFUND_REQUESTED)
            case PaymentRefunded():
                return change(payments, order_id=order_id, status=PaymentStatus.REFUNDED, refunded=event.amount.amount)


@dataclass(frozen=True)
class PaymentsOfOrderHandler:
    reads: Reads

    async def __call__(self, query: PaymentsOfOrder) -> tuple[PaymentView, ...]:
        rows = await self.reads.all(select(payments).where(payments.c.order_id == query.order_id))
        return tuple(
            PaymentView(
                row.order_id, PaymentStatus(row.status), Money(row.amount), Money(row.captured), Money(row.refunded)
            )
            for row in rows
        )

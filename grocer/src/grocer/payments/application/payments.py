"""Use cases on the payment of an order."""

from dataclasses import dataclass
from uuid import UUID

from colonnade.application import Deferred, Delivery, Replies, Repository, Subscriber
from colonnade.messages import Command

from grocer.kernel import ZERO, Money
from grocer.payments.application.ports import CardProcessor
from grocer.payments.contracts import RefundPayment, TakePayment
from grocer.payments.domain.payment import CardDeclined, Payment, PaymentRequested, RefundRequested

__all__ = [
    "AskCardProcessor",
    "RecordCharge",
    "RecordChargeHandler",
    "RecordRefund",
    "RecordRefundHandler",
    "RefundPaymentHandler",
    "TakePaymentHandler",
]


class RecordCharge(Command):
    """Take down what the card processor did with a charge."""

    order_id: UUID
    charged: bool


class RecordRefund(Command):
    """Take down what the card processor gave back."""

    order_id: UUID
    amount: Money


@dataclass(frozen=True)
class TakePaymentHandler:
    payments: Repository[Payment]

    async def __call__(self, command: TakePayment) -> Deferred:
        self.payments.add(Payment.request(command.order_id, command.customer_id, command.amount))
        return Deferred(_charge(command.order_id))


@dataclass(frozen=True)
class RefundPaymentHandler:
    payments: Repository[Payment]

    async def __call__(self, command: RefundPayment) -> Deferred | None:
        payment = await self.payments.find(command.order_id)
        if payment is None or not payment.request_refund():
            return None
        return Deferred(_refund(command.order_id))


class AskCardProcessor(Subscriber[PaymentRequested | RefundRequested]):
    """Charges and refunds cards, in the order in which they were asked for."""

    def __init__(self, processor: CardProcessor) -> None:
        self._processor = processor

    async def on(self, event: PaymentRequested | RefundRequested, delivery: Delivery) -> RecordCharge | RecordRefund:
        charge_key = _charge(event.order_id)
        match event:
            case PaymentRequested():
                charged = await self._processor.charge(charge_key, event.customer_id, event.amount)
                return RecordCharge(event.order_id, charged)
            case RefundRequested():
                refunded = await self._processor.refund(_refund(event.order_id), charge_key, event.amount)
                return RecordRefund(event.order_id, event.amount if refunded else ZERO)


@dataclass(frozen=True)
class RecordChargeHandler:
    payments: Repository[Payment]
    replies: Replies

    async def __call__(self, command: RecordCharge) -> None:
        payment = await self.payments.get(command.order_id)
        if command.charged:
            payment.capture()
            await self.replies.settle(_charge(command.order_id))
        else:
            payment.decline()
            await self.replies.settle(_charge(command.order_id), CardDeclined(command.order_id))


@dataclass(frozen=True)
class RecordRefundHandler:
    payments: Repository[Payment]
    replies: Replies

    async def __call__(self, command: RecordRefund) -> None:
        (await self.payments.get(command.order_id)).refund(command.amount)
        await self.replies.settle(_refund(command.order_id))


def _charge(order_id: UUID) -> str:
    return f"charge/{order_id}"


def _refund(order_id: UUID) -> str:
    return f"refund/{order_id}"

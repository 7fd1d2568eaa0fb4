"""How orders are fulfilled, and how confirmed ones are taken back."""

from uuid import UUID

from colonnade.application import Plan, Saga, Step, Why, seconds

from grocer.delivery.contracts import BookDelivery, CancelDelivery
from grocer.inventory.contracts import Goods, ReleaseGoods, ReserveGoods, ReturnGoods
from grocer.ordering.application.steps import ConfirmOrder, RejectOrder
from grocer.ordering.contracts import OrderCancelled, OrderLine, OrderPlaced
from grocer.payments.contracts import RefundPayment, TakePayment

__all__ = ["FulfilOrder", "TakeOrderBack"]


class FulfilOrder(Saga[OrderPlaced]):
    """Reserve the goods, take the payment, book the delivery; undo in reverse when a step fails."""

    def key(self, event: OrderPlaced) -> UUID:
        return event.order_id

    def plan(self, event: OrderPlaced) -> Plan:
        of, store, goods = event.order_id, event.store_id, _goods(event.lines)
        return Plan(
            Step(
                "reserve goods",
                ReserveGoods(of, store, goods),
                undo=ReleaseGoods(of, store, goods),
                timeout=seconds(10),
            ),
            Step(
                "take payment",
                TakePayment(of, event.customer_id, event.total),
                undo=RefundPayment(of),
                timeout=seconds(30),
            ),
            Step("book delivery", BookDelivery(of, event.customer_id, store), undo=CancelDelivery(of)),
            completed=ConfirmOrder(of),
            failed=lambda why: _rejected(of, why),
        )


class TakeOrderBack(Saga[OrderCancelled]):
    """Stop the delivery, give the money back and take the goods in again, for an order that had been confirmed."""

    def key(self, event: OrderCancelled) -> UUID:
        return event.order_id

    def plan(self, event: OrderCancelled) -> Plan:
        if not event.confirmed:
            return Plan()  # fulfilment is told to stop by the cancelling itself, and undoes what it did
        of = event.order_id
        return Plan(
            Step("cancel delivery", CancelDelivery(of)),
            Step("refund payment", RefundPayment(of)),
            Step("return goods", ReturnGoods(of, event.store_id, _goods(event.lines))),
        )


def _goods(lines: tuple[OrderLine, ...]) -> tuple[Goods, ...]:
    return tuple(Goods(line.product_id, line.quantity) for line in lines)


def _rejected(order_id: UUID, why: Why) -> RejectOrder:
    return RejectOrder(order_id, why.code, f"{why.step}: {why.detail}")

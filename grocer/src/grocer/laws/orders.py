"""The orders and their sagas, from ordering's log."""

from dataclasses import dataclass
from uuid import UUID

from grocer.kernel import ZERO, Money
from grocer.laws.verdict import Breach, Law
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected

__all__ = ["ORDERS", "SAGA_ENDED", "KnownOrder", "Orders"]

ORDERS = (OrderPlaced, OrderConfirmed, OrderRejected, OrderCancelled)
SAGA_ENDED = "colonnade.SagaEnded"

_FULFILMENT, _TAKING_BACK = "FulfilOrder", "TakeOrderBack"


@dataclass(slots=True)
class KnownOrder:
    """How far an order is."""

    total: Money
    status: str = "pending"
    was_confirmed: bool = False
    fulfilment_ended: str | None = None
    taking_back_ended: str | None = None

    @property
    def unsettled(self) -> str | None:
        """What is still to come; None for an order that is over."""
        if self.fulfilment_ended is None:
            return f"it is {self.status} and its fulfilment has not ended"
        if "COMPENSATION_FAILED" in (self.fulfilment_ended, self.taking_back_ended):
            return "a saga could not undo what it had done for it; see colonnade sagas list"
        if self.status == "pending":
            return "its fulfilment has ended, and it is still pending"
        if self.status == "cancelled" and self.was_confirmed and self.taking_back_ended is None:
            return "it is cancelled, and taking it back has not ended"
        return None

    @property
    def value(self) -> Money:
        """What the customer owes for it in the end."""
        return self.total if self.status == "confirmed" else ZERO


class Orders:
    """Follows each order and its sagas."""

    def __init__(self) -> None:
        self.known: dict[UUID, KnownOrder] = {}
        self.breaches: list[Breach] = []
        self.changed = set[UUID]()
        """The orders of which something was read since this was cleared."""

    def follow(self, event: OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled) -> None:
        """Take in one event of an order."""
        self.changed.add(event.order_id)
        if isinstance(event, OrderPlaced):
            if event.order_id in self.known:
                self.breaches.append(Breach(Law.BASKETS, f"order {event.order_id}", "it was placed twice"))
            self.known[event.order_id] = KnownOrder(event.total)
            return
        order = self.known.get(event.order_id)
        if order is None:
            self.breaches.append(Breach(Law.BASKETS, f"order {event.order_id}", "it has an end and no beginning"))
            return
        match event:
            case OrderConfirmed():
                order.status, order.was_confirmed = "confirmed", True
            case OrderRejected():
                order.status = "rejected"
            case OrderCancelled():
                order.status = "cancelled"

    def end_saga(self, stream: str, end: str) -> None:
        """Take in that a saga has ended."""
        saga, _, id = stream.partition("/")
        if saga not in (_FULFILMENT, _TAKING_BACK):
            return
        order_id = UUID(id)
        self.changed.add(order_id)
        order = self.known.get(order_id)
        if order is None:
            self.breaches.append(Breach(Law.BASKETS, f"order {order_id}", f"{saga} worked for it, and it is no order"))
        elif saga == _FULFILMENT:
            order.fulfilment_ended = end
        else:
            order.taking_back_ended = end

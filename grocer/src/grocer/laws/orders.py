"""The orders and their sagas, from ordering's log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from colonnade.persistence.store import StoredEvent
from colonnade.workers.sagas.history import End, SagaEnded

from grocer.kernel import ZERO, Money
from grocer.laws.verdict import Breach, Law, order_named
from grocer.ordering.application.fulfilment import FulfilOrder, TakeOrderBack
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected

__all__ = ["ORDERS", "KnownOrder", "Orders"]

ORDERS = (OrderPlaced, OrderConfirmed, OrderRejected, OrderCancelled)

_FULFILMENT, _TAKING_BACK = FulfilOrder.__name__, TakeOrderBack.__name__


@dataclass(slots=True)
class KnownOrder:
    """How far an order is; `pieces` of all its lines together."""

    total: Money
    pieces: int
    status: str = "pending"
    was_confirmed: bool = False
    fulfilment_ended: End | None = None
    taking_back_ended: End | None = None

    @property
    def unsettled(self) -> str | None:
        """What is still to come; None for an order that is over."""
        if self.fulfilment_ended is None:
            return f"it is {self.status} and its fulfilment has not ended"
        if End.COMPENSATION_FAILED in (self.fulfilment_ended, self.taking_back_ended):
            return "a saga could not undo what it had done for it; see colonnade sagas list --state stuck"
        if self.status == "pending":
            return "its fulfilment has ended, and it is still pending"
        if self.status == "cancelled" and self.was_confirmed and self.taking_back_ended is None:
            return "it is cancelled, and taking it back has not ended"
        return None

    @property
    def value(self) -> Money:
        """What the customer owes for it in the end."""
        return self.total if self.status == "confirmed" else ZERO

    @property
    def goods(self) -> int:
        """How many pieces the customer has in the end."""
        return self.pieces if self.status == "confirmed" else 0


class Orders:
    """Follows each order and its sagas."""

    def __init__(self) -> None:
        self.known: dict[UUID, KnownOrder] = {}
        self.breaches: list[Breach] = []
        self.changed = set[UUID]()
        """The orders of which something was read since this was cleared."""
        self._requested: dict[UUID, list[UUID]] = {}

    def follow(
        self, stored: StoredEvent, event: OrderPlaced | OrderConfirmed | OrderRejected | OrderCancelled | SagaEnded
    ) -> None:
        """Take in one event of an order, or of a saga."""
        if isinstance(event, SagaEnded):
            self._end_saga(stored.stream, event.end)
            return
        self.changed.add(event.order_id)
        if isinstance(event, OrderPlaced):
            if event.order_id in self.known:
                self._break(event.order_id, "it was placed twice")
            self.known[event.order_id] = KnownOrder(event.total, sum(line.quantity for line in event.lines))
            self._requested.setdefault(stored.correlation_id, []).append(event.order_id)
            return
        order = self.known.get(event.order_id)
        if order is None:
            self._break(event.order_id, "it has an end and no beginning")
            return
        match event:
            case OrderConfirmed():
                order.status, order.was_confirmed = "confirmed", True
            case OrderRejected():
                order.status = "rejected"
            case OrderCancelled():
                order.status = "cancelled"

    def against(self, baskets: Mapping[UUID, UUID | None]) -> Iterator[Breach]:
        """Where the orders are not what customers were told.

        `baskets` has, by the correlation id of a basket's request, the order that was promised; None where it was
        refused.
        """
        for request, promised in baskets.items():
            if promised is not None and promised not in self.known:
                yield Breach(Law.BASKETS, order_named(promised), "it was accepted, and is not there")
            for order_id in self._requested.get(request, ()):
                if promised is None:
                    yield Breach(Law.BASKETS, order_named(order_id), "it was refused, and is there")
                elif order_id != promised:
                    yield Breach(Law.BASKETS, order_named(order_id), f"its basket is {order_named(promised)} already")

    def _end_saga(self, stream: str, end: End) -> None:
        saga, _, id = stream.partition("/")
        if saga not in (_FULFILMENT, _TAKING_BACK):
            return
        order_id = UUID(id)
        self.changed.add(order_id)
        order = self.known.get(order_id)
        if order is None:
            self._break(order_id, f"{saga} worked for it, and it is no order")
        elif saga == _FULFILMENT:
            order.fulfilment_ended = end
        else:
            order.taking_back_ended = end

    def _break(self, order_id: UUID, why: str) -> None:
        self.breaches.append(Breach(Law.BASKETS, order_named(order_id), why))

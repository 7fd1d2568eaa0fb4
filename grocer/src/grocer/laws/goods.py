"""The goods of all stores, counted from every event of the inventory's log."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from grocer.inventory.domain.stock import GoodsReceived, GoodsReleased, GoodsReserved, GoodsReturned, GoodsSold
from grocer.laws.verdict import Breach, Law

__all__ = ["GOODS", "Shelves"]

GOODS = (GoodsReceived, GoodsReserved, GoodsReleased, GoodsSold, GoodsReturned)


@dataclass(slots=True)
class _Shelf:
    received: int = 0
    on_hand: int = 0
    sold: int = 0
    reserved: dict[UUID, int] = field(default_factory=dict)
    sold_to: dict[UUID, int] = field(default_factory=dict)


class Shelves:
    """Follows each shelf event by event: what leaves it must have been there, at every moment."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self.breaches: list[Breach] = []
        self.movements = 0

    def __len__(self) -> int:
        return len(self._shelves)

    def follow(
        self, stream: str, event: GoodsReceived | GoodsReserved | GoodsReleased | GoodsSold | GoodsReturned
    ) -> None:
        """Count one event of a shelf's stream."""
        self.movements += 1
        shelf = self._shelves.get(stream)
        if shelf is None:
            shelf = self._shelves[stream] = _Shelf()
        why = _moved(shelf, event)
        total = shelf.on_hand + sum(shelf.reserved.values()) + shelf.sold
        if why is None and total != shelf.received:
            why = f"{total} pieces are accounted for, {shelf.received} were received"
        if why is not None:
            self.breaches.append(Breach(Law.GOODS, stream, why))

    def reserved(self) -> Iterator[tuple[UUID, str]]:
        """The orders for which goods are set aside, and where."""
        for stream, shelf in self._shelves.items():
            for order_id in shelf.reserved:
                yield order_id, stream


def _moved(
    shelf: _Shelf, event: GoodsReceived | GoodsReserved | GoodsReleased | GoodsSold | GoodsReturned
) -> str | None:
    match event:
        case GoodsReceived():
            shelf.received += event.quantity
            shelf.on_hand += event.quantity
        case GoodsReserved():
            if event.order_id in shelf.reserved:
                return f"goods were set aside twice for order {event.order_id}"
            shelf.on_hand -= event.quantity
            shelf.reserved[event.order_id] = event.quantity
            if shelf.on_hand < 0:
                return f"{-shelf.on_hand} pieces more were set aside than there were"
        case GoodsReleased() | GoodsSold():
            quantity = shelf.reserved.pop(event.order_id, 0)
            if isinstance(event, GoodsSold):
                shelf.sold += event.quantity
                shelf.sold_to[event.order_id] = shelf.sold_to.get(event.order_id, 0) + event.quantity
            else:
                shelf.on_hand += event.quantity
            if quantity != event.quantity:
                return f"{event.quantity} pieces of order {event.order_id} left what was set aside, {quantity} were"
        case GoodsReturned():
            bought = shelf.sold_to.pop(event.order_id, 0)
            shelf.sold -= event.quantity
            shelf.on_hand += event.quantity
            if bought != event.quantity:
                return f"{event.quantity} pieces of order {event.order_id} came back, {bought} had been sold to it"
    return None

"""The goods of all stores, counted from every event of the inventory's log."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from colonnade.persistence.store import StoredEvent

from grocer.inventory.domain.stock import GoodsReceived, GoodsReleased, GoodsReserved, GoodsReturned, GoodsSold
from grocer.laws.verdict import Breach, Law

__all__ = ["GOODS", "GoodsEvent", "Shelves"]

GOODS = (GoodsReceived, GoodsReserved, GoodsReleased, GoodsSold, GoodsReturned)

GoodsEvent = GoodsReceived | GoodsReserved | GoodsReleased | GoodsSold | GoodsReturned


# Orders are known by the numbers of their ids, which the garbage collector need not look at: half of the time
@dataclass(slots=True)
class _Shelf:
    version: int = 0
    received: int = 0
    on_hand: int = 0
    set_aside: int = 0
    sold: int = 0
    reserved: dict[int, int] = field(default_factory=dict)
    sold_to: dict[int, int] = field(default_factory=dict)


class Shelves:
    """Follows each shelf event by event: what leaves it must have been there, at every moment."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self.breaches: list[Breach] = []
        self.movements = 0
        self._set_aside: dict[int, int] = {}
        self._sold: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._shelves)

    def orders(self) -> Iterator[UUID]:
        """The orders for which goods were set aside, ever."""
        return (UUID(int=number) for number in self._set_aside)

    def set_aside_for(self, order_id: UUID) -> int:
        """How many pieces are set aside for an order now, on all shelves."""
        return self._set_aside.get(order_id.int, 0)

    def sold_to(self, order_id: UUID) -> int:
        """How many pieces an order has, returned ones not counted."""
        return self._sold.get(order_id.int, 0)

    def follow(self, stored: StoredEvent, event: GoodsEvent) -> None:
        """Count one event of a shelf's stream."""
        self.movements += 1
        shelf = self._shelves.get(stored.stream)
        if shelf is None:
            shelf = self._shelves[stored.stream] = _Shelf()
        why = self._moved(shelf, event)
        if shelf.on_hand + shelf.set_aside + shelf.sold != shelf.received:
            total = shelf.on_hand + shelf.set_aside + shelf.sold
            why = why or f"{total} pieces are accounted for, {shelf.received} were received"
        elif shelf.on_hand < 0:
            why = why or f"{shelf.on_hand} pieces are on hand"
        elif event.quantity <= 0:
            why = why or f"{event.quantity} pieces were moved"
        shelf.version += 1
        if stored.version != shelf.version:
            why = f"event {shelf.version} of the shelf is missing"
            shelf.version = stored.version
        if why is not None:
            self.breaches.append(Breach(Law.GOODS, stored.stream, f"at event {stored.position} {why}"))

    def _moved(self, shelf: _Shelf, event: GoodsEvent) -> str | None:
        quantity = event.quantity
        match event:
            case GoodsReceived():
                shelf.received += quantity
                shelf.on_hand += quantity
            case GoodsReserved():
                order = event.order_id.int
                had = shelf.reserved.get(order)
                shelf.on_hand -= quantity
                shelf.set_aside += quantity
                shelf.reserved[order] = (had or 0) + quantity
                self._set_aside[order] = self._set_aside.get(order, 0) + quantity
                if had is not None:
                    return f"goods were set aside twice for order {event.order_id}"
            case GoodsReleased() | GoodsSold():
                order = event.order_id.int
                reserved = shelf.reserved.pop(order, 0)
                shelf.set_aside -= reserved
                self._set_aside[order] = self._set_aside.get(order, 0) - reserved
                if isinstance(event, GoodsSold):
                    shelf.sold += quantity
                    shelf.sold_to[order] = shelf.sold_to.get(order, 0) + quantity
                    self._sold[order] = self._sold.get(order, 0) + quantity
                else:
                    shelf.on_hand += quantity
                if reserved != quantity:
                    return f"{quantity} pieces of order {event.order_id} left what was set aside, {reserved} were"
            case GoodsReturned():
                order = event.order_id.int
                bought = shelf.sold_to.pop(order, 0)
                shelf.sold -= quantity
                shelf.on_hand += quantity
                self._sold[order] = self._sold.get(order, 0) - quantity
                if bought != quantity:
                    return f"{quantity} pieces of order {event.order_id} came back, {bought} had been sold to it"
        return None

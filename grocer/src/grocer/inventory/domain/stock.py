"""The stock of one product in one store."""

from typing import ClassVar
from uuid import UUID

from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Event

__all__ = ["GoodsReceived", "GoodsReleased", "GoodsReserved", "GoodsReturned", "GoodsSold", "OutOfStock", "Stock"]


class GoodsReceived(Event):
    """Goods came in and lie on the shelf."""

    store_id: int
    product_id: int
    quantity: int


class GoodsReserved(Event):
    """Goods were set aside for an order."""

    store_id: int
    product_id: int
    order_id: UUID
    quantity: int


class GoodsReleased(Event):
    """Goods set aside for an order went back to the shelf."""

    store_id: int
    product_id: int
    order_id: UUID
    quantity: int


class GoodsSold(Event):
    """Goods set aside for an order left the store."""

    store_id: int
    product_id: int
    order_id: UUID
    quantity: int


class GoodsReturned(Event):
    """Goods that an order had bought came back to the shelf."""

    store_id: int
    product_id: int
    order_id: UUID
    quantity: int


class OutOfStock(Conflict):
    """There are not enough goods on the shelf."""

    store_id: int
    product_id: int
    wanted: int
    on_hand: int


StockEvent = GoodsReceived | GoodsReserved | GoodsReleased | GoodsSold | GoodsReturned


class Stock(Aggregate[StockEvent, str]):
    """On hand + reserved + sold = received, always.

    Its identity is store and product, like `340/1055168`.
    """

    snapshot_every: ClassVar[int] = 100

    on_hand: int
    reserved: dict[UUID, int]
    back: set[UUID]

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.on_hand = 0
        self.reserved = {}
        self.back = set()

    @staticmethod
    def key(store_id: int, product_id: int) -> str:
        """The identity of a product's stock in a store."""
        return f"{store_id}/{product_id}"

    def receive(self, quantity: int) -> None:
        """Put goods on the shelf."""
        if quantity > 0:
            self.record(GoodsReceived(*self._place, quantity))

    def fill_to(self, level: int) -> None:
        """Receive what is missing to `level` pieces on the shelf."""
        self.receive(level - self.on_hand)

    def reserve(self, order_id: UUID, quantity: int) -> None:
        """Set goods aside for an order; raises `OutOfStock`. Asking twice reserves once."""
        if order_id in self.reserved:
            return
        if quantity > self.on_hand:
            raise OutOfStock(*self._place, quantity, self.on_hand)
        self.record(GoodsReserved(*self._place, order_id, quantity))

    def release(self, order_id: UUID) -> None:
        """Put back what is set aside for an order, if anything is."""
        if (quantity := self.reserved.get(order_id)) is not None:
            self.record(GoodsReleased(*self._place, order_id, quantity))

    def sell(self, order_id: UUID) -> None:
        """Let what is set aside for an order leave the store, if anything is."""
        if (quantity := self.reserved.get(order_id)) is not None:
            self.record(GoodsSold(*self._place, order_id, quantity))

    def take_back(self, order_id: UUID, quantity: int) -> None:
        """Undo a sale, or the reservation where it was not yet sold. Asking twice takes back once."""
        if order_id in self.reserved:
            self.release(order_id)
        elif order_id not in self.back:
            self.record(GoodsReturned(*self._place, order_id, quantity))

    def apply(self, event: StockEvent) -> None:
        """Keep count of what is on hand and for whom goods are set aside."""
        match event:
            case GoodsReceived():
                self.on_hand += event.quantity
            case GoodsReserved():
                self.on_hand -= event.quantity
                self.reserved[event.order_id] = event.quantity
                self.back.discard(event.order_id)
            case GoodsReleased():
                self.on_hand += self.reserved.pop(event.order_id)
                self.back.add(event.order_id)
            case GoodsSold():
                del self.reserved[event.order_id]
            case GoodsReturned():
                self.on_hand += event.quantity
                self.back.add(event.order_id)

    @property
    def _place(self) -> tuple[int, int]:
        store_id, _, product_id = self.id.partition("/")
        return int(store_id), int(product_id)

"""What can be asked of the inventory."""

from colonnade.domain import NotFound
from colonnade.messages import Query, Value

__all__ = ["NeverStocked", "StockLevel", "StockOf"]


class StockLevel(Value):
    """The goods of one product in one store, in pieces (petrol: thousandths of a gallon)."""

    store_id: int
    product_id: int
    on_hand: int
    reserved: int
    sold: int
    received: int


class StockOf(Query[StockLevel]):
    """How much of a product a store has."""

    store_id: int
    product_id: int


class NeverStocked(NotFound):
    """The store has never had that product."""

    store_id: int
    product_id: int

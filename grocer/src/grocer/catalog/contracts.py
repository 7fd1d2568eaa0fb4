"""What other services may ask the catalog."""

from colonnade.messages import Query, Value

from grocer.kernel import Money

__all__ = ["Price", "QuotePrices"]


class Price(Value):
    """What one piece of a product costs."""

    product_id: int
    price: Money


class QuotePrices(Query[tuple[Price, ...]]):
    """The shelf prices of products in one store, in the order asked for."""

    store_id: int
    product_ids: tuple[int, ...]

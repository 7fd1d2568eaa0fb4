"""What the shop sells, and where."""

from colonnade.domain import NotFound

__all__ = ["UnknownProduct", "UnknownStore"]


class UnknownStore(NotFound):
    """There is no store of that number."""

    store_id: int


class UnknownProduct(NotFound):
    """That product is not on the shelves."""

    product_id: int

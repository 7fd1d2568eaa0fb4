"""What can be asked of the catalog."""

from colonnade.application import Page, PageSize
from colonnade.messages import Query, Value

__all__ = ["Product", "ProductById", "SearchProducts"]


class Product(Value):
    """One product as customers see it."""

    product_id: int
    department: str
    category: str
    type: str
    brand: str
    package_size: str


class ProductById(Query[Product]):
    """One product."""

    product_id: int


class SearchProducts(Query[Page[Product]]):
    """Products by their number, whose description holds every word of `search`, of one department if named."""

    search: str | None = None
    department: str | None = None
    after: str | None = None
    limit: PageSize = 20

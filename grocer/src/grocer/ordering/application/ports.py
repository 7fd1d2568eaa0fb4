"""What ordering needs of others."""

from collections.abc import Sequence
from typing import Protocol

from colonnade.messages import Positive, Value

from grocer.ordering.contracts import OrderLine

__all__ = ["PriceList", "RequestedLine"]


class RequestedLine(Value):
    """So many pieces of a product, as a customer asks for them."""

    product_id: int
    quantity: Positive


class PriceList(Protocol):
    """Knows what products cost."""

    async def quote(self, store_id: int, lines: Sequence[RequestedLine]) -> Sequence[OrderLine]:
        """The lines with the store's shelf prices; raises the refusal for an unknown store or product."""

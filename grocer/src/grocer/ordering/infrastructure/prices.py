"""Prices from the catalog."""

from collections.abc import Sequence
from dataclasses import dataclass

from colonnade.application import Mediator

from grocer.catalog.contracts import QuotePrices
from grocer.ordering.application.ports import PriceList, RequestedLine
from grocer.ordering.contracts import OrderLine

__all__ = ["prices"]


@dataclass(frozen=True)
class CatalogPrices:
    services: Mediator

    async def quote(self, store_id: int, lines: Sequence[RequestedLine]) -> Sequence[OrderLine]:
        prices = await self.services.ask(QuotePrices(store_id, tuple(line.product_id for line in lines)))
        return [
            OrderLine(line.product_id, line.quantity, quoted.price) for line, quoted in zip(lines, prices, strict=True)
        ]


def prices(services: Mediator) -> PriceList:
    """The price list of ordering is the catalog's."""
    return CatalogPrices(services)

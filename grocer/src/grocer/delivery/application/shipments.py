"""Use cases on the shipment of an order."""

from dataclasses import dataclass

from colonnade.application import Repository

from grocer.delivery.contracts import BookDelivery, CancelDelivery
from grocer.delivery.domain.shipment import Shipment

__all__ = ["BookDeliveryHandler", "CancelDeliveryHandler"]


@dataclass(frozen=True)
class BookDeliveryHandler:
    shipments: Repository[Shipment]

    async def __call__(self, command: BookDelivery) -> None:
        self.shipments.add(Shipment.book(command.order_id, command.customer_id, command.store_id))


@dataclass(frozen=True)
class CancelDeliveryHandler:
    shipments: Repository[Shipment]

    async def __call__(self, command: CancelDelivery) -> None:
        shipment = await self.shipments.find(command.order_id)
        if shipment is not None:
            shipment.cancel()

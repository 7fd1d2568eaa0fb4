"""The shipment of one order."""

from enum import StrEnum
from typing import Self
from uuid import UUID

from colonnade.domain import Aggregate
from colonnade.messages import Event

__all__ = ["Shipment", "ShipmentBooked", "ShipmentCancelled", "ShipmentStatus"]


class ShipmentStatus(StrEnum):
    """How far a shipment is."""

    BOOKED = "booked"
    CANCELLED = "cancelled"


class ShipmentBooked(Event):
    """The goods of an order will be brought to its customer."""

    order_id: UUID
    customer_id: UUID
    store_id: int


class ShipmentCancelled(Event):
    """The goods stay, or come back."""

    order_id: UUID


class Shipment(Aggregate[ShipmentBooked | ShipmentCancelled]):
    """One shipment, known by its order."""

    status: ShipmentStatus

    @classmethod
    def book(cls, order_id: UUID, customer_id: UUID, store_id: int) -> Self:
        """A new shipment."""
        shipment = cls(order_id)
        shipment.record(ShipmentBooked(order_id, customer_id, store_id))
        return shipment

    def cancel(self) -> None:
        """Call it off; once is enough."""
        if self.status is ShipmentStatus.BOOKED:
            self.record(ShipmentCancelled(self.id))

    def apply(self, event: ShipmentBooked | ShipmentCancelled) -> None:
        """Follow what happened."""
        match event:
            case ShipmentBooked():
                self.status = ShipmentStatus.BOOKED
            case ShipmentCancelled():
                self.status = ShipmentStatus.CANCELLED

"""What can be asked about deliveries."""

from datetime import datetime
from uuid import UUID

from colonnade.messages import Query, Value

from grocer.delivery.domain.shipment import ShipmentStatus

__all__ = ["ShipmentView", "ShipmentsOfOrder"]


class ShipmentView(Value):
    """The shipment of an order."""

    order_id: UUID
    customer_id: UUID
    store_id: int
    status: ShipmentStatus
    booked_at: datetime


class ShipmentsOfOrder(Query[tuple[ShipmentView, ...]]):
    """The shipments of an order: none, or one."""

    order_id: UUID

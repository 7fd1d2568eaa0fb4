"""Shipments as rows."""

from dataclasses import dataclass

from colonnade.application import Projection, Write, change, upsert
from colonnade.messages import Metadata
from colonnade.persistence import Reads
from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, Uuid, select

from grocer.delivery.application.queries import ShipmentsOfOrder, ShipmentView
from grocer.delivery.domain.shipment import ShipmentBooked, ShipmentCancelled, ShipmentStatus

__all__ = ["Shipments", "ShipmentsOfOrderHandler", "shipments"]

shipments = Table(
    "shipments",
    MetaData(),
    Column("order_id", Uuid, primary_key=True),
    Column("customer_id", Uuid, nullable=False),
    Column("store_id", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("booked_at", DateTime(timezone=True), nullable=False),
)


class Shipments(Projection[ShipmentBooked | ShipmentCancelled]):
    """One row a shipment."""

    tables = (shipments,)

    def on(self, event: ShipmentBooked | ShipmentCancelled, meta: Metadata) -> Write:
        match event:
            case ShipmentBooked():
                return upsert(
                    shipments,
                    order_id=event.order_id,
                    customer_id=event.customer_id,
                    store_id=event.store_id,
                    status=ShipmentStatus.BOOKED,
                    booked_at=meta.time,
                )
            case ShipmentCancelled():
                return change(shipments, order_id=event.order_id, status=ShipmentStatus.CANCELLED)


@dataclass(frozen=True)
class ShipmentsOfOrderHandler:
    reads: Reads

    async def __call__(self, query: ShipmentsOfOrder) -> tuple[ShipmentView, ...]:
        rows = await self.reads.all(select(shipments).where(shipments.c.order_id == query.order_id))
        return tuple(
            ShipmentView(row.order_id, row.customer_id, row.store_id, ShipmentStatus(row.status), row.booked_at)
            for row in rows
        )

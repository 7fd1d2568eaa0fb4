"""Delivery: bringing goods to customers."""

from colonnade.system import Service

from grocer.delivery import contracts
from grocer.delivery.application.shipments import BookDeliveryHandler, CancelDeliveryHandler
from grocer.delivery.infrastructure.shipments import Shipments, ShipmentsOfOrderHandler
from grocer.delivery.presentation.api import api

__all__ = ["delivery"]

delivery = Service(
    "delivery",
    contracts=contracts,
    handlers=[BookDeliveryHandler, CancelDeliveryHandler, ShipmentsOfOrderHandler],
    projections=[Shipments],
    api=api,
)

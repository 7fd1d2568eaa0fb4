"""Grocer, a grocery shop: six services that run together."""

from colonnade.system import System

from grocer.catalog.service import catalog
from grocer.delivery.service import delivery
from grocer.inventory.service import inventory
from grocer.notifications.service import notifications
from grocer.ordering.service import ordering
from grocer.payments.service import payments

__all__ = ["grocer"]

grocer = System("grocer", [catalog, inventory, ordering, payments, delivery, notifications])

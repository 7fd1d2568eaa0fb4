"""A message to a customer about an order."""

from enum import StrEnum
from typing import Self
from uuid import UUID

from colonnade.domain import Aggregate
from colonnade.messages import Event

__all__ = ["Notification", "NotificationSent", "Occasion"]


class Occasion(StrEnum):
    """What a customer is told about."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class NotificationSent(Event):
    """The customer was told."""

    notification_id: UUID
    order_id: UUID
    customer_id: UUID
    occasion: Occasion


class Notification(Aggregate[NotificationSent]):
    """One message, sent or about to be."""

    sent: bool

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.sent = False

    @classmethod
    def send(cls, notification_id: UUID, order_id: UUID, customer_id: UUID, occasion: Occasion) -> Self:
        """A message that has been sent."""
        notification = cls(notification_id)
        notification.record(NotificationSent(notification_id, order_id, customer_id, occasion))
        return notification

    def apply(self, event: NotificationSent) -> None:
        """Follow what happened."""
        self.sent = True

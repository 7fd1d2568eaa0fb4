"""Customers are told how their orders ended."""

from dataclasses import dataclass
from uuid import UUID

from colonnade.application import Delivery, Repository, Subscriber
from colonnade.messages import Command

from grocer.notifications.application.ports import Mail, Mailer
from grocer.notifications.domain.notification import Notification, Occasion
from grocer.ordering.contracts import OrderCancelled, OrderConfirmed, OrderRejected

__all__ = ["RecordNotification", "RecordNotificationHandler", "TellCustomers"]


class RecordNotification(Command):
    """Take down that a customer was told."""

    notification_id: UUID
    order_id: UUID
    customer_id: UUID
    occasion: Occasion


@dataclass(frozen=True)
class RecordNotificationHandler:
    notifications: Repository[Notification]

    async def __call__(self, command: RecordNotification) -> None:
        self.notifications.add(
            Notification.send(command.notification_id, command.order_id, command.customer_id, command.occasion)
        )


class TellCustomers(Subscriber[OrderConfirmed | OrderRejected | OrderCancelled]):
    """Sends an e-mail when an order has ended."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    async def on(
        self, event: OrderConfirmed | OrderRejected | OrderCancelled, delivery: Delivery
    ) -> RecordNotification:
        occasion, text = Occasion.CANCELLED, "Your order is cancelled; what you paid is given back."
        match event:
            case OrderConfirmed():
                occasion, text = Occasion.CONFIRMED, f"Your order over ${event.total.amount} is on its way."
            case OrderRejected():
                occasion, text = Occasion.REJECTED, f"We could not fulfil your order ({event.reason})."
            case OrderCancelled():
                pass
        subject = f"Your order {event.order_id} is {occasion}"
        await self._mailer.send(Mail(delivery.key, event.customer_id, subject, text))
        return RecordNotification(delivery.key, event.order_id, event.customer_id, occasion)

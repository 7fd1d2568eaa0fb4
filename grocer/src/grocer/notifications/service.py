"""Notifications: e-mail to customers."""

from colonnade.system import Service

from grocer.notifications.application.notifying import RecordNotificationHandler, TellCustomers
from grocer.notifications.infrastructure.mail import mailer

__all__ = ["notifications"]

notifications = Service(
    "notifications",
    handlers=[RecordNotificationHandler],
    subscribers=[TellCustomers],
    providers=[mailer],
)

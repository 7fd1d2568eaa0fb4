"""The application: the ports and definitions from which use cases are written."""

from colonnade.application.handler import Handler
from colonnade.application.mediator import Mediator
from colonnade.application.outbox import Deferred, Outbox, Replies
from colonnade.application.page import Page, PageSize, cursor_at, cursor_keys
from colonnade.application.projection import Projection
from colonnade.application.repository import AggregateNotFound, Repository
from colonnade.application.saga import Plan, Saga, Sagas, Step, Together, Why, seconds
from colonnade.application.subscriber import Delivery, Subscriber
from colonnade.application.writes import Write, change, delete, increment, insert, upsert
from colonnade.world import Clock, Ids

__all__ = [
    "AggregateNotFound",
    "Clock",
    "Deferred",
    "Delivery",
    "Handler",
    "Ids",
    "Mediator",
    "Outbox",
    "Page",
    "PageSize",
    "Plan",
    "Projection",
    "Replies",
    "Repository",
    "Saga",
    "Sagas",
    "Step",
    "Subscriber",
    "Together",
    "Why",
    "Write",
    "change",
    "cursor_at",
    "cursor_keys",
    "delete",
    "increment",
    "insert",
    "seconds",
    "upsert",
]

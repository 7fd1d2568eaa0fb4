"""Subscribers: reactions to events, the only place that may call the outside world."""

from abc import ABC, abstractmethod
from datetime import datetime
from typing import ClassVar, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

from colonnade.messages import Command, Event

__all__ = ["Delivery", "Subscriber"]

E = TypeVar("E", bound=Event)


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One attempt to hand an event to a subscriber.

    `key` is the same at every attempt and differs between subscribers: give it to the outside as the idempotency key.
    `stream` is where the event was recorded, `attempt` counts from 1.
    """

    key: UUID
    attempt: int
    event_id: UUID
    stream: str
    time: datetime
    correlation_id: UUID


class Subscriber(ABC, Generic[E]):
    """Does something outside its own database when an event has happened, in this service or another.

    It runs at least once an event; the command that it returns is handled exactly once, in the transaction that
    marks the event as done. An exception means: try again later, with the same key. `when_parked` says what becomes
    of later events of a key once one of them is parked: `hold` keeps them in line, `continue` lets them pass and
    gives up their order.
    """

    when_parked: ClassVar[Literal["hold", "continue"]] = "hold"

    @abstractmethod
    async def on(self, event: E, delivery: Delivery, /) -> Command[object] | None:
        """React to `event`."""

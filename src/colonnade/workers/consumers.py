"""What becomes of messages: an event is reacted to, in one unit of work."""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

from colonnade.application import Delivery, Subscriber
from colonnade.messages import Event
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.persistence.execution import Refused
from colonnade.persistence.store import DueMessage, Store
from colonnade.persistence.unit import Handled
from colonnade.workers.commands import Execute, tell_refused, unit_of
from colonnade.world import World

__all__ = [
    "NOBODY",
    "Consumer",
    "Nobody",
    "NotYet",
    "SubscriberConsumer",
    "context_of",
]

NOBODY = "nobody"
"""The consumer of messages that are kept only for their place in the chain."""


class NotYet(Exception):
    """The message has to wait for `seconds`, and its line with it; that is no failure.

    It is told as a health state where somebody should see to it.
    """

    def __init__(self, seconds: float, reason: str, *, told: bool = False) -> None:
        super().__init__(seconds, reason)
        self.seconds, self.reason, self.told = seconds, reason, told

    def __str__(self) -> str:
        return self.reason


class Consumer(Protocol):
    """Handles messages of one kind, each in a unit of work that marks it as handled."""

    @property
    def holds(self) -> bool:
        """Whether later messages of a key wait behind one that is parked."""

    @property
    def joins(self) -> bool:
        """Whether its messages may be done at once: it waits for nothing outside, and commits one unit."""

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message; an exception means that nothing was committed.

        Raises `NotYet` for a message that is to stay in line without having failed.
        """


def context_of(envelope: Envelope, tenant: str | None) -> Context:
    """What a message in the store of `tenant` hands on to all that follows from it."""
    return Context(envelope.correlationid, envelope.id, envelope.principal, envelope.traceparent, None, tenant)


@dataclass(frozen=True, slots=True)
class SubscriberConsumer:
    """Hands events to a subscriber, and carries out the command that it returns."""

    name: str
    subscriber: Subscriber[Any]
    execute: Execute
    store: Store
    codec: MessageCodec
    world: World
    joins: bool = False

    @property
    def holds(self) -> bool:
        """Whether later messages of a key wait behind one that is parked."""
        return self.subscriber.when_parked == "hold"

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Let the subscriber react to the event in `envelope`."""
        event = self.codec.decode(envelope.type, envelope.dataversion, envelope.data)
        assert isinstance(event, Event)
        delivery = Delivery(
            key=key_of(envelope.id, self.name),
            attempt=due.attempts + 1,
            event_id=envelope.id,
            stream=envelope.subject,
            time=envelope.time,
            correlation_id=envelope.correlationid,
        )
        command = await self.subscriber.on(event, delivery)
        if command is None:
            await self.store.commit(unit_of(self.world, context, [Handled(due.row)]))
            return
        outcome = await self.execute(command, context, (Handled(due.row),))
        if isinstance(outcome, Refused):
            tell_refused(type(command).__name__, outcome.refusal)


@dataclass(frozen=True, slots=True)
class Nobody:
    """Lets go of messages that were kept only for their place in the chain."""

    store: Store
    world: World
    holds: bool = False
    joins: bool = False

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Forget the message."""
        await self.store.commit(unit_of(self.world, context, [Handled(due.row)]))


def key_of(event_id: UUID, consumer: str) -> UUID:
    """The key under which one subscriber speaks to the outside about one event."""
    return uuid5(event_id, consumer)

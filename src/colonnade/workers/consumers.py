"""What becomes of a message: a command is carried out, an event is reacted to; each in one unit of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

from colonnade.application import Delivery, Subscriber
from colonnade.domain import Conflict
from colonnade.messages import Command, Event
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import Outcome, Refused
from colonnade.persistence.outgoing import reply_effect
from colonnade.persistence.reply import Reply
from colonnade.persistence.store import DueMessage, Store
from colonnade.persistence.unit import Answer, Defer, Effect, Handled, Unit
from colonnade.world import World

__all__ = ["CommandConsumer", "Consumer", "Execute", "Expired", "SubscriberConsumer", "Undone", "context_of"]

STEP_KEPT_MICROSECONDS = 30 * 24 * 3_600 * 1_000_000
"""For how long a service remembers that it did, or must not do, a step of a saga."""


class Expired(Conflict):
    """A command is not carried out after the moment that it says."""


class Undone(Conflict):
    """The undoing of this step came first."""


class Consumer(Protocol):
    """Handles messages of one kind, each in a unit of work that marks it as handled."""

    @property
    def holds(self) -> bool:
        """Whether later messages of a key wait behind one that is parked."""

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message; an exception means that nothing was committed."""


class Execute(Protocol):
    """Carries a command out in a unit of work."""

    async def __call__(
        self,
        command: Command[Any],
        context: Context,
        base: Sequence[Effect] = (),
        close: Callable[[Outcome[Any]], Sequence[Effect]] | None = None,
    ) -> Outcome[Any]:
        """The outcome, once it is durable."""


def context_of(envelope: Envelope) -> Context:
    """What a message hands on to all that follows from it."""
    return Context(envelope.correlationid, envelope.id, envelope.principal, envelope.traceparent)


@dataclass(frozen=True, slots=True)
class CommandConsumer:
    """Hands commands to their handlers, and tells the saga that asked how they ended.

    A step of a saga is done at most once, never after its time, and never after it was undone: an undo that finds
    nothing done leaves a tombstone instead.
    """

    execute: Execute
    store: Store
    codec: MessageCodec
    routes: Routes
    world: World
    holds: bool = True

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Carry the command in `envelope` out."""
        command = self.codec.decode(envelope.type, envelope.dataversion, envelope.data)
        assert isinstance(command, Command)
        handled = Handled(due.row)
        if envelope.replyto is None or envelope.replykey is None:
            await self.execute(command, context, (handled,))
            return
        step = _Step.of(envelope)
        before = await self.store.answer(step.scope)
        if step.undoes:
            if before is None or before.fingerprint != DONE:
                await self._answer(envelope, context, handled, None, step.record(self.world, UNDONE))
                return
        elif before is not None:
            await self._answer(envelope, context, handled, Undone())
            return
        elif envelope.notafter is not None and self.world.clock.now() > envelope.notafter:
            await self._answer(envelope, context, handled, Expired())
            return

        def close(outcome: Outcome[Any]) -> Sequence[Effect]:
            return self._closing(outcome, envelope, step)

        await self.execute(command, context, (handled,), close)

    def _closing(self, outcome: Outcome[Any], envelope: Envelope, step: "_Step") -> Sequence[Effect]:
        assert envelope.replyto is not None
        assert envelope.replykey is not None
        if isinstance(outcome, Refused):
            return (self._reply(envelope, Reply.of(self.routes.service, outcome.refusal)),)
        effects: list[Effect] = []
        if not step.undoes:
            effects.append(step.record(self.world, DONE))
        if outcome.deferred is not None:
            effects.append(Defer(outcome.deferred, envelope.replyto, envelope.replykey))
        else:
            effects.append(self._reply(envelope, Reply()))
        return effects

    async def _answer(
        self, envelope: Envelope, context: Context, handled: Handled, refusal: Conflict | None, *more: Effect
    ) -> None:
        reply = self._reply(envelope, Reply.of(self.routes.service, refusal), context)
        unit = Unit(
            self.world.clock.micros(),
            context.correlation_id,
            context.causation_id,
            context.principal,
            [handled, *more, reply],
        )
        await self.store.commit(unit)

    def _reply(self, envelope: Envelope, reply: Reply, context: Context | None = None) -> Effect:
        assert envelope.replyto is not None
        assert envelope.replykey is not None
        return reply_effect(
            self.routes, self.world, context or context_of(envelope), envelope.replyto, envelope.replykey, reply
        )


DONE = b"done"
UNDONE = b"undone"


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of one saga, as the service that carries it out remembers it."""

    scope: str
    undoes: bool

    @classmethod
    def of(cls, envelope: Envelope) -> "_Step":
        assert envelope.replykey is not None
        consumer, key, token = envelope.replykey.split("|", 2)
        step, _, direction = token.rpartition("|")
        return cls(f"step|{envelope.replyto}|{consumer}|{key}|{step}", direction == "undo")

    def record(self, world: World, what: bytes) -> Answer:
        # A tombstone or a done step is never answered again with a response: the mark itself is what counts
        return Answer(self.scope, what, b"", world.clock.micros() + STEP_KEPT_MICROSECONDS)


@dataclass(frozen=True, slots=True)
class SubscriberConsumer:
    """Hands events to a subscriber, and carries out the command that it returns."""

    name: str
    subscriber: Subscriber[Any]
    execute: Execute
    store: Store
    codec: MessageCodec
    world: World

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
        if command is not None:
            await self.execute(command, context, (Handled(due.row),))
            return
        unit = Unit(self.world.clock.micros(), context.correlation_id, context.causation_id, context.principal)
        unit.effects.append(Handled(due.row))
        await self.store.commit(unit)


def key_of(event_id: UUID, consumer: str) -> UUID:
    """The key under which one subscriber speaks to the outside about one event."""
    return uuid5(event_id, consumer)

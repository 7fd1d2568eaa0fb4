"""What becomes of a message: a command is carried out, an event is reacted to; each in one unit of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid5

from colonnade.application import Delivery, Subscriber
from colonnade.domain import Conflict, Refusal
from colonnade.messages import Command, Event
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.logs import get_logger
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import Done, Outcome, Refused
from colonnade.persistence.outgoing import reply_effect
from colonnade.persistence.reply import Reply
from colonnade.persistence.store import DueMessage, Store, VersionConflict
from colonnade.persistence.unit import Answer, Defer, Effect, Handled, Unit
from colonnade.workers.reply_keys import ReplyKey
from colonnade.world import World

__all__ = [
    "NOBODY",
    "CommandConsumer",
    "Consumer",
    "Execute",
    "Expired",
    "Nobody",
    "NotYet",
    "SubscriberConsumer",
    "ThereAlready",
    "Undone",
    "context_of",
]

NOBODY = "nobody"
"""The consumer of messages that are kept only for their place in the chain."""

STEP_KEPT_MICROSECONDS = 30 * 24 * 3_600 * 1_000_000
"""For how long a service remembers that it did, or must not do, a step of a saga."""

_log = get_logger()


class Expired(Conflict):
    """A command is not carried out after the moment that it says."""


class Undone(Conflict):
    """The undoing of this step came first."""


class ThereAlready(Conflict):
    """What the command would begin has begun already."""

    stream: str


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

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message; an exception means that nothing was committed.

        Raises `NotYet` for a message that is to stay in line without having failed.
        """


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


class _TooLate(Exception):
    """The time of a command ran out while it was being carried out."""


@dataclass(frozen=True, slots=True)
class CommandConsumer:
    """Hands commands to their handlers, and tells the saga that asked how they ended.

    A step of a saga is done at most once, never after its time, and never after it was undone: an undo that finds
    nothing done leaves a tombstone instead. A step that is asked for again is answered as it was the first time.
    """

    execute: Execute
    store: Store
    codec: MessageCodec
    routes: Routes
    world: World
    holds: bool = True

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Carry the command in `envelope` out."""
        handled = Handled(due.row)
        if envelope.replyto is None or envelope.replykey is None:
            await self._carry_out_unasked(envelope, context, handled)
            return
        step = _Step.of(envelope.replyto, ReplyKey.parse(envelope.replykey))
        if step.undoes:
            await self._undo(step, envelope, context, handled)
        else:
            await self._do(step, envelope, context, handled)

    async def _carry_out_unasked(self, envelope: Envelope, context: Context, handled: Handled) -> None:
        def close(outcome: Outcome[Any]) -> Sequence[Effect]:
            if isinstance(outcome, Done) and self._is_late(envelope):
                raise _TooLate
            return ()

        try:
            if self._is_late(envelope):
                raise _TooLate
            outcome = await self.execute(self._command(envelope), context, (handled,), close)
        except _TooLate:
            await self._commit(context, [handled])
            outcome = Refused(Expired())
        if isinstance(outcome, Refused):
            _tell_refused(envelope.type, outcome.refusal)

    async def _do(self, step: "_Step", envelope: Envelope, context: Context, handled: Handled) -> None:
        known = await self.store.answers(step.undone, step.done)
        if step.undone in known:
            await self._answer(envelope, context, [handled], Undone())
        elif (before := known.get(step.done)) is not None:
            if before.fingerprint == DEFERRED:
                await self._commit(context, [handled])  # its answer comes when it is settled
            else:
                await self._answer(envelope, context, [handled], None)
        elif self._is_late(envelope):
            await self._answer(envelope, context, [handled], Expired())
        else:
            await self._carry_out(step, envelope, context, handled)

    async def _undo(self, step: "_Step", envelope: Envelope, context: Context, handled: Handled) -> None:
        known = await self.store.answers(step.undone, step.done)
        if (before := known.get(step.undone)) is not None:
            if before.fingerprint == DEFERRED:
                await self._commit(context, [handled])
            else:
                await self._answer(envelope, context, [handled], None)
        elif step.done not in known:
            await self._answer(envelope, context, [handled, self._mark(step.undone, DONE)], None)
        else:
            await self._carry_out(step, envelope, context, handled)

    async def _carry_out(self, step: "_Step", envelope: Envelope, context: Context, handled: Handled) -> None:
        def close(outcome: Outcome[Any]) -> Sequence[Effect]:
            return self._closing(outcome, envelope, step, context)

        try:
            await self.execute(self._command(envelope), context, (handled,), close)
        except _TooLate:
            await self._answer(envelope, context, [handled], Expired())
        except VersionConflict as conflict:
            if conflict.expected != 0:
                raise
            # It wants to begin a stream that has begun: no other try will end otherwise
            await self._answer(envelope, context, [handled], ThereAlready(conflict.stream))

    def _closing(self, outcome: Outcome[Any], envelope: Envelope, step: "_Step", context: Context) -> Sequence[Effect]:
        if isinstance(outcome, Refused):
            return (self._reply(envelope, context, Reply.of(self.routes.service, outcome.refusal)),)
        if self._is_late(envelope):
            raise _TooLate
        assert envelope.replyto is not None
        assert envelope.replykey is not None
        scope = step.undone if step.undoes else step.done
        if outcome.deferred is not None:
            return (self._mark(scope, DEFERRED), Defer(outcome.deferred, envelope.replyto, envelope.replykey))
        return (self._mark(scope, DONE), self._reply(envelope, context, Reply()))

    def _command(self, envelope: Envelope) -> Command[Any]:
        command = self.codec.decode(envelope.type, envelope.dataversion, envelope.data)
        assert isinstance(command, Command)
        return command

    def _is_late(self, envelope: Envelope) -> bool:
        return envelope.notafter is not None and self.world.clock.now() > envelope.notafter

    def _mark(self, scope: str, what: bytes) -> Answer:
        # Never given as an answer to anybody: that it is there is what counts
        return Answer(scope, what, b"", self.world.clock.micros() + STEP_KEPT_MICROSECONDS)

    async def _answer(
        self, envelope: Envelope, context: Context, effects: list[Effect], refusal: Conflict | None
    ) -> None:
        effects.append(self._reply(envelope, context, Reply.of(self.routes.service, refusal)))
        await self._commit(context, effects)

    async def _commit(self, context: Context, effects: list[Effect]) -> None:
        await self.store.commit(_unit(self.world, context, effects))

    def _reply(self, envelope: Envelope, context: Context, reply: Reply) -> Effect:
        assert envelope.replyto is not None
        assert envelope.replykey is not None
        return reply_effect(self.routes, self.world, context, envelope.replyto, envelope.replykey, reply)


DONE = b"done"
DEFERRED = b"deferred"


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of one saga, as the service that carries it out remembers it."""

    undoes: bool
    done: str
    undone: str

    @classmethod
    def of(cls, reply_to: str, asked: ReplyKey) -> "_Step":
        name = f"{reply_to}|{asked.consumer}|{asked.key}|{asked.step}"
        return cls(asked.undo, f"done|{name}", f"undone|{name}")


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
        if command is None:
            await self.store.commit(_unit(self.world, context, [Handled(due.row)]))
            return
        outcome = await self.execute(command, context, (Handled(due.row),))
        if isinstance(outcome, Refused):
            _tell_refused(type(command).__name__, outcome.refusal)


@dataclass(frozen=True, slots=True)
class Nobody:
    """Lets go of messages that were kept only for their place in the chain."""

    store: Store
    world: World
    holds: bool = False

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Forget the message."""
        await self.store.commit(_unit(self.world, context, [Handled(due.row)]))


def key_of(event_id: UUID, consumer: str) -> UUID:
    """The key under which one subscriber speaks to the outside about one event."""
    return uuid5(event_id, consumer)


def _unit(world: World, context: Context, effects: list[Effect]) -> Unit:
    return Unit(world.clock.micros(), context.correlation_id, context.causation_id, context.principal, effects)


def _tell_refused(command: str, refusal: Refusal) -> None:
    # Nobody waits for the answer: this line is all that is told of it
    _log.warning("command refused", command=command, code=refusal.code, detail=str(refusal))

"""Commands from the inbox: carried out, each in one unit of work, and answered where a saga asked."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from colonnade.domain import Conflict, Refusal
from colonnade.messages import Command
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.logs import get_logger
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import Done, Outcome, Refused
from colonnade.persistence.failures import NotAtOnce, StoredAnswer, VersionConflict
from colonnade.persistence.outgoing import reply_effect
from colonnade.persistence.reply import Reply
from colonnade.persistence.reply_keys import Direction, ReplyKey
from colonnade.persistence.store import Committed, DueMessage, Store
from colonnade.persistence.unit import Answer, Defer, Effect, Handled, Unit
from colonnade.world import World

__all__ = ["CommandConsumer", "Execute", "Expired", "ThereAlready", "Undone", "tell_refused", "unit_of"]

STEP_KEPT_MICROSECONDS = 30 * 24 * 3_600 * 1_000_000
"""For how long a service remembers that it did, or must not do, a step of a saga."""

DONE = b"done"
DEFERRED = b"deferred"
UNDONE = b"undone"

_log = get_logger()


class Expired(Conflict):
    """A command is not carried out after the moment that it says."""


class Undone(Conflict):
    """The undoing of this step came first."""


class ThereAlready(Conflict):
    """What the command would begin has begun already."""

    stream: str


class Execute(Protocol):
    """Carries a command out in a unit of work."""

    async def __call__(
        self,
        command: Command[Any],
        context: Context,
        base: Sequence[Effect] = (),
        close: Callable[[Outcome[Any]], Sequence[Effect]] | None = None,
        *,
        on_refusal: Callable[[], Awaitable[None]] | None = None,
    ) -> Outcome[Any]:
        """The outcome, once it is durable."""


class _TooLate(Exception):
    """The time of a command ran out while it was being carried out."""


@dataclass(frozen=True, slots=True)
class CommandConsumer:
    """Hands commands to their handlers, and tells the saga that asked how they ended.

    A step of a saga is done at most once, never after its time, and never after it was undone: an undo that finds
    nothing done leaves a tombstone instead. A step that is asked for again is answered as it was the first time.
    What was left open may be undone meanwhile, and is undone once more when it was done after that.
    """

    execute: Execute
    store: Store
    codec: MessageCodec
    routes: Routes
    world: World
    commit: Callable[[Unit], Awaitable[Committed]]
    holds: bool = True
    joins: bool = True

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Carry the command in `envelope` out."""
        handled = Handled(due.row)
        if envelope.replyto is None or envelope.replykey is None:
            await self._carry_out_unasked(envelope, context, handled)
            return
        asked = ReplyKey.parse(envelope.replykey)
        if due.is_done_at_once:
            if asked.undo or asked.number > 1 or self._is_late(envelope):
                raise NotAtOnce  # what was done before may be in the very unit that brings it, and not be seen yet
            # As a rule it is new. Where it is not, its mark is there and the unit loses: then it is looked at
            await self._carry_out(asked.mark(self._asker(envelope)), envelope, context, handled, unseen=True)
        elif asked.undo:
            await self._undo(asked, envelope, context, handled)
        else:
            await self._do(asked, envelope, context, handled)

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
            tell_refused(envelope.type, outcome.refusal)

    async def _do(self, asked: ReplyKey, envelope: Envelope, context: Context, handled: Handled) -> None:
        done, undone = asked.mark(self._asker(envelope)), asked.mark(self._asker(envelope), Direction.UNDO)
        known = await self.store.answers(done, undone)
        if undone in known:
            await self._answer(envelope, context, [handled], Undone())
        elif (before := known.get(done)) is not None:
            await self._answer_as_before(done, before, envelope, context, handled)
        elif self._is_late(envelope):
            await self._answer(envelope, context, [handled], Expired())
        else:
            await self._carry_out(done, envelope, context, handled)

    async def _undo(self, asked: ReplyKey, envelope: Envelope, context: Context, handled: Handled) -> None:
        done, undone, again = (asked.mark(self._asker(envelope), direction) for direction in Direction)
        known = await self.store.answers(done, undone, again)
        first = known.get(done)
        # What was not left open is done when it is answered: its first undoing came after it
        was_open = first is not None and first.fingerprint == DEFERRED and undone in known
        mark = again if asked.direction is Direction.AGAIN and was_open else undone
        if (before := known.get(mark)) is not None:
            await self._answer_as_before(mark, before, envelope, context, handled)
        elif first is None:
            # In the place of the step too, so that one that is being done just now loses against it
            tombstone = self._mark(done, UNDONE)
            await self._answer(envelope, context, [handled, self._mark(mark, DONE), tombstone], None)
        else:
            await self._carry_out(mark, envelope, context, handled)

    async def _answer_as_before(
        self, mark: str, before: StoredAnswer, envelope: Envelope, context: Context, handled: Handled
    ) -> None:
        if before.fingerprint == DEFERRED and await self._is_open(mark, before.response.decode()):
            await self._commit(context, [handled])  # its answer comes when it is settled
        else:
            await self._answer(envelope, context, [handled], None)

    async def _is_open(self, mark: str, key: str) -> bool:
        # Others may wait under the same key for what became of theirs
        waiting = await self.store.deferrals(key)
        return any(ReplyKey.parse(each.reply_key).mark(each.reply_to) == mark for each in waiting)

    async def _carry_out(
        self, mark: str, envelope: Envelope, context: Context, handled: Handled, *, unseen: bool = False
    ) -> None:
        def close(outcome: Outcome[Any]) -> Sequence[Effect]:
            return self._closing(outcome, envelope, mark, context)

        async def look() -> None:
            if await self.store.answers(mark):  # it may have been refused because it is done
                raise NotAtOnce

        try:
            await self.execute(self._command(envelope), context, (handled,), close, on_refusal=look if unseen else None)
        except _TooLate:
            if unseen:
                await look()
            await self._answer(envelope, context, [handled], Expired())
        except VersionConflict as conflict:
            if conflict.expected != 0:
                raise
            # It wants to begin a stream that has begun: no other try will end otherwise
            await self._answer(envelope, context, [handled], ThereAlready(conflict.stream))

    def _closing(self, outcome: Outcome[Any], envelope: Envelope, mark: str, context: Context) -> Sequence[Effect]:
        if isinstance(outcome, Refused):
            return (self._reply(envelope, context, Reply.of(self.routes.service, outcome.refusal)),)
        if self._is_late(envelope):
            raise _TooLate
        if (key := outcome.deferred) is not None:
            assert envelope.replykey is not None
            deferral = Defer(key, self._asker(envelope), envelope.replykey)
            return (self._mark(mark, DEFERRED, key.encode()), deferral)
        return (self._mark(mark, DONE), self._reply(envelope, context, Reply()))

    def _command(self, envelope: Envelope) -> Command[Any]:
        command = self.codec.decode(envelope.type, envelope.dataversion, envelope.data)
        assert isinstance(command, Command)
        return command

    def _is_late(self, envelope: Envelope) -> bool:
        return envelope.notafter is not None and self.world.clock.now() > envelope.notafter

    def _mark(self, mark: str, what: bytes, key: bytes = b"") -> Answer:
        # Never given as an answer to anybody: that it is there is what counts
        return Answer(mark, what, key, self.world.clock.micros() + STEP_KEPT_MICROSECONDS)

    async def _answer(
        self, envelope: Envelope, context: Context, effects: list[Effect], refusal: Conflict | None
    ) -> None:
        effects.append(self._reply(envelope, context, Reply.of(self.routes.service, refusal)))
        await self._commit(context, effects)

    async def _commit(self, context: Context, effects: list[Effect]) -> None:
        await self.commit(unit_of(self.world, context, effects))

    def _reply(self, envelope: Envelope, context: Context, reply: Reply) -> Effect:
        assert envelope.replykey is not None
        return reply_effect(self.routes, self.world, context, self._asker(envelope), envelope.replykey, reply)

    def _asker(self, envelope: Envelope) -> str:
        assert envelope.replyto is not None
        return envelope.replyto


def unit_of(world: World, context: Context, effects: list[Effect]) -> Unit:
    """A unit of work that consists of `effects`."""
    return Unit(world.clock.micros(), context.correlation_id, context.causation_id, context.principal, effects)


def tell_refused(command: str, refusal: Refusal) -> None:
    """Tell of a refusal that answers nobody."""
    # Nobody waits for the answer: this line is all that is told of it
    _log.warning("command refused", command=command, code=refusal.code, detail=str(refusal))

"""Runs the sagas of one definition: each message to one instance, and what it sends, in one unit of work."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

import msgspec

from colonnade.application import Repository, Saga
from colonnade.application.saga import COMPLETED_STEP, FAILED_STEP
from colonnade.domain import Refusal
from colonnade.messages import Event
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.logs import get_logger
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import Done, Execution
from colonnade.persistence.reply import Reply
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.persistence.store import DueMessage, Store
from colonnade.persistence.unit import DisarmTimer, Handled
from colonnade.persistence.work import work_at_hand
from colonnade.workers.consumers import NotYet
from colonnade.workers.sagas.history import StoredMessage
from colonnade.workers.sagas.instance import Ask, SagaInstance
from colonnade.workers.sagas.messages import CANCEL, CONTROL, TIMEOUT, SagaCancel, SagaControl, SagaTimeout, timer_name
from colonnade.workers.sagas.sending import SagaSender
from colonnade.workers.sagas.suspended import SuspendedInstances
from colonnade.world import World, text_of

__all__ = ["SagaCodeFailed", "SagaConsumer", "UnknownSaga"]

GRACE_SECONDS = 10.0
"""How long a time-out waits at most for answers that lie in the inbox: they are heard first."""

SETTLING_SECONDS = 1.0
"""How long a time-out waits at least: an answer that was sent before it was due may be on its way still."""

LOOK_AGAIN_SECONDS = 0.1
STUCK_LOOK_SECONDS = 30.0

RETIRED_LOOK_SECONDS = 5.0
"""How often a message of a suspended instance is looked at: an answer is seen within the grace once its version is
back, and therefore before the time-out."""

_log = get_logger()


class UnknownSaga(Exception):
    """There is no such instance (yet)."""

    def __init__(self, saga: str, key: str) -> None:
        super().__init__(saga, key)
        self.saga, self.key = saga, key

    def __str__(self) -> str:
        return f"There is no saga {self.saga}/{self.key}; the event that starts it may not have been handled yet."


class SagaCodeFailed(Exception):
    """The author's code refused where it may not: a plan is made, it is not asked for."""

    def __init__(self, saga: str, refusal: Refusal) -> None:
        super().__init__(saga, refusal)
        self.saga, self.refusal = saga, refusal

    def __str__(self) -> str:
        return f"{self.saga} refused, which a saga cannot: {self.refusal.code}: {self.refusal}"


@dataclass(slots=True)
class SagaConsumer:
    """Starts sagas on their events and takes them further on answers, time-outs, cancellations and controls."""

    name: str
    saga: Saga[Any]
    instances: Repository[SagaInstance]
    execution: Execution
    store: Store
    codec: MessageCodec
    routes: Routes
    world: World
    holds: bool = True
    joins: bool = True
    grace_seconds: float = GRACE_SECONDS
    settling_seconds: float = SETTLING_SECONDS
    suspended: SuspendedInstances = field(init=False)
    _sender: SagaSender = field(init=False)
    _running_since: int = field(init=False)

    def __post_init__(self) -> None:
        self.suspended = SuspendedInstances(
            self.routes.service, self.name, self.saga.oldest_version, self.store, self.codec
        )
        self._sender = SagaSender(self.name, self.saga, self.codec, self.routes, self.world)
        self._running_since = self.world.clock.micros()

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message."""
        kind = envelope.type
        if kind == Reply.NAME:
            await self._run(due, context, lambda: self._replied(envelope, context))
        elif kind == TIMEOUT:
            await self._until_settled(due)
            await self._run(due, context, lambda: self._timed_out(envelope, context))
        elif kind == CANCEL:
            await self._run(due, context, lambda: self._cancelled(envelope, context))
        elif kind == CONTROL:
            await self._steer(due, envelope, context)
        else:
            await self._run(due, context, lambda: self._started(due, envelope, context))

    async def _run(self, due: DueMessage, context: Context, work: Callable[[], Awaitable[None]]) -> None:
        async def unrefused() -> None:
            try:
                await work()
            except Refusal as refusal:
                # As an answer to nobody it would be the silent end of the message
                raise SagaCodeFailed(self.name, refusal) from refusal

        await self.execution.run(unrefused, context=context, base=(Handled(due.row),))

    async def _steer(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        outcome = await self.execution.run(
            lambda: self._controlled(envelope, context), context=context, base=(Handled(due.row),)
        )
        if isinstance(outcome, Done):
            self.suspended.judge(outcome.value)
        else:
            _log.warning("saga not steered", saga=f"{self.name}/{due.key}", detail=str(outcome.refusal))

    async def _instance(self, key: str) -> SagaInstance:
        instance = await self.instances.find(UUID(key))
        if instance is None:
            raise UnknownSaga(self.name, key)
        if self.suspended.judge(instance):
            raise NotYet(RETIRED_LOOK_SECONDS, "the version that it began with is retired")
        return instance

    async def _started(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        event = self.codec.decode(envelope.type, envelope.dataversion, envelope.data)
        assert isinstance(event, Event)
        id = self.saga.key(event) or uuid5(envelope.id, self.name)
        # Done at once it is taken for new without a look, as it is as a rule; else the unit loses, and it is looked at
        if not due.is_done_at_once and await self.instances.find(id) is not None:
            return
        instance = SagaInstance(id)
        self.instances.add(instance)
        trigger = StoredMessage(envelope.type, envelope.dataversion, envelope.data)
        self._send(instance, instance.start(self._sender.started(id, trigger, event)), context)

    async def _replied(self, envelope: Envelope, context: Context) -> None:
        assert envelope.replykey is not None
        asked = ReplyKey.parse(envelope.replykey)
        instance = await self._instance(asked.key)
        reply = Reply.decode(envelope.data)
        ask = Ask(asked.step, asked.undo)
        asks = instance.answered(
            ask, asked.number, code=reply.refused, detail=reply.detail or "", settled=reply.settled
        )  # fmt: skip
        self._send(instance, asks, context)
        self._disarm_answered(instance, ask)

    async def _until_settled(self, due: DueMessage) -> None:
        """Raise `NotYet` while an answer that came in time may be on its way, or lies in the inbox: it goes first."""
        now = self.world.clock.micros()
        # What was on its way when the process ended comes shortly after it has begun again
        waited = (now - max(due.received_at, self._running_since)) / 1_000_000
        if waited < self.settling_seconds:
            raise NotYet(self.settling_seconds - waited, "answers may be on their way")
        if waited < self.grace_seconds and await self.store.inbox.waiting_before(due.consumer, due.key, now):
            raise NotYet(LOOK_AGAIN_SECONDS, "answers lie in the inbox")

    async def _timed_out(self, envelope: Envelope, context: Context) -> None:
        key = envelope.subject
        timeout = msgspec.json.decode(envelope.data, type=SagaTimeout)
        instance = await self._instance(key)
        ask = Ask(timeout.step, timeout.undo)
        if ask.step not in (COMPLETED_STEP, FAILED_STEP):
            self._send(instance, instance.timed_out(ask, timeout.number), context)
        elif ask == instance.stuck_on and timeout.number == instance.times_asked(ask):
            # It is not known whether that was done, and there is nothing to undo it with
            completed = instance.plan.completed
            command = completed.name if completed is not None and ask.step == COMPLETED_STEP else ask.step
            raise NotYet(
                STUCK_LOOK_SECONDS,
                f"{self.name}/{key} is stuck: it waits for the answer to {command}; see colonnade sagas show, "
                "and the dead letters of the service that handles it.",
                told=True,
            )

    async def _cancelled(self, envelope: Envelope, context: Context) -> None:
        # Where the event that starts it still waits in its own line, this fails, and is tried again behind it
        instance = await self._instance(envelope.subject)
        why = msgspec.json.decode(envelope.data, type=SagaCancel).why
        self._send(instance, instance.cancel(why), context)

    async def _controlled(self, envelope: Envelope, context: Context) -> SagaInstance:
        control = msgspec.json.decode(envelope.data, type=SagaControl)
        instance = await self.instances.get(UUID(envelope.subject))
        asks: list[Ask] = []
        skipped: list[Ask] = []
        match control.action:
            case "retry":
                asks = instance.retry()
            case "skip":
                step = control.step or ""
                asks = instance.skip(step)
                skipped = [Ask(step), Ask(step, undo=True)]
            case "compensate":
                asks = instance.compensate_by_hand()
            case "close":
                instance.close()
        self._send(instance, asks, context)
        for ask in skipped:
            self._disarm_answered(instance, ask)
        return instance

    def _send(self, instance: SagaInstance, asks: Sequence[Ask], context: Context) -> None:
        work_at_hand().effects.extend(self._sender.effects(instance, asks, context))

    def _disarm_answered(self, instance: SagaInstance, ask: Ask) -> None:
        """Forget the timer of what is outstanding no more, where nothing else that is has taken it over."""
        place = instance.place_of(ask)
        if not instance.awaits_any_at(place, undo=ask.undo):
            timer = timer_name(self.name, text_of(instance.id), place, undo=ask.undo)
            work_at_hand().effects.append(DisarmTimer(timer))

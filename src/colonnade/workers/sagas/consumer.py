"""Runs the sagas of one definition: messages in, commands and timers out, each in one unit of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid5

import msgspec

from colonnade.application import Plan, Repository, Saga
from colonnade.messages import Command, Event, Message
from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import Execution
from colonnade.persistence.reply import Reply
from colonnade.persistence.store import DueMessage, Store
from colonnade.persistence.unit import ArmTimer, Deliver, DisarmTimer, Handled
from colonnade.persistence.work import work_at_hand
from colonnade.workers.sagas.history import SagaStarted, StoredMessage, StoredStep
from colonnade.workers.sagas.instance import COMPLETED_STEP, FAILED_STEP, Ask, SagaInstance
from colonnade.world import World, datetime_of

__all__ = [
    "CANCEL",
    "CONTROL",
    "TIMEOUT",
    "SagaConsumer",
    "SagaControl",
    "cancel_message",
    "consumer_of",
    "control_message",
]

TIMEOUT = "colonnade.SagaTimeout"
CANCEL = "colonnade.SagaCancel"
CONTROL = "colonnade.SagaControl"

GRACE_SECONDS = 10.0
"""How long a time-out waits for answers that lie in the inbox since before it was due."""

_LOOK_AGAIN_MICROSECONDS = 100_000
_UNDO_TIMEOUT = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)


class _Timeout(msgspec.Struct, frozen=True):
    step: str
    undo: bool
    due: int


class _Cancel(msgspec.Struct, frozen=True):
    why: str


class SagaControl(msgspec.Struct, frozen=True):
    """What a person asks of a saga."""

    action: Literal["retry", "skip", "compensate", "close"]
    step: str | None = None


def consumer_of(saga: str) -> str:
    """The consumer of a service's inbox that runs the sagas called `saga`."""
    return f"saga:{saga}"


@dataclass(frozen=True, slots=True)
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

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message."""
        match envelope.type:
            case Reply.NAME:
                await self._run(due, context, lambda: self._replied(envelope, context))
            case "colonnade.SagaTimeout":
                await self._timed_out(due, envelope, context)
            case "colonnade.SagaCancel":
                await self._run(due, context, lambda: self._cancelled(envelope, context))
            case "colonnade.SagaControl":
                await self._run(due, context, lambda: self._controlled(envelope, context))
            case _:
                await self._run(due, context, lambda: self._started(envelope, context))

    async def _run(self, due: DueMessage, context: Context, work: Callable[[], Any]) -> None:
        await self.execution.run(work, context=context, base=(Handled(due.row),))

    async def _started(self, envelope: Envelope, context: Context) -> None:
        event = self.codec.decode(envelope.type, envelope.dataversion, envelope.data)
        assert isinstance(event, Event)
        id = self.saga.key(event) or uuid5(envelope.id, self.name)
        if await self.instances.find(id) is not None:
            return
        instance = SagaInstance(id)
        self.instances.add(instance)
        plan = self.saga.plan(event)
        trigger = StoredMessage(envelope.type, envelope.dataversion, envelope.data)
        started = SagaStarted(
            self.name, self.saga.version, id, trigger, self._stages(plan), self._stored_or_none(plan.completed)
        )
        self._send(instance, instance.start(started), context)

    async def _replied(self, envelope: Envelope, context: Context) -> None:
        assert envelope.replykey is not None
        _, key, token = envelope.replykey.split("|", 2)
        step, _, direction = token.rpartition("|")
        undo = direction == "undo"
        instance = await self.instances.get(UUID(key))
        reply = Reply.decode(envelope.data)
        self._disarm(key, step, undo)
        asks = instance.answered(step, undo=undo, code=reply.refused, detail=reply.detail or "")
        self._send(instance, asks, context)

    async def _timed_out(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        timeout = msgspec.json.decode(envelope.data, type=_Timeout)
        key = envelope.subject
        now = self.world.clock.micros()
        waited_long = now >= timeout.due + int(GRACE_SECONDS * 1_000_000)
        if not waited_long and await self.store.inbox.waiting_before(consumer_of(self.name), key, timeout.due):
            # An answer that came in time lies in the inbox: it is to be heard first
            again = ArmTimer(
                _timer(self.name, key, timeout.step, timeout.undo),
                now + _LOOK_AGAIN_MICROSECONDS,
                Deliver(consumer_of(self.name), key, due.envelope, "timers"),
            )

            async def look_again() -> None:
                work_at_hand().effects.append(again)

            await self._run(due, context, look_again)
            return

        async def fire() -> None:
            instance = await self.instances.get(UUID(key))
            self._send(instance, instance.timed_out(timeout.step, undo=timeout.undo), context)

        await self._run(due, context, fire)

    async def _cancelled(self, envelope: Envelope, context: Context) -> None:
        # Where the event that starts it still waits in its own line, this fails and is tried again behind it
        instance = await self.instances.get(UUID(envelope.subject))
        why = msgspec.json.decode(envelope.data, type=_Cancel).why
        self._send(instance, instance.cancel(why), context)

    async def _controlled(self, envelope: Envelope, context: Context) -> None:
        control = msgspec.json.decode(envelope.data, type=SagaControl)
        instance = await self.instances.get(UUID(envelope.subject))
        asks: list[Ask] = []
        match control.action:
            case "retry":
                asks = instance.retry()
            case "skip":
                asks = instance.skip(control.step or "")
            case "compensate":
                asks = instance.compensate_by_hand()
            case "close":
                instance.close()
        self._send(instance, asks, context)

    def _send(self, instance: SagaInstance, asks: Sequence[Ask], context: Context) -> None:
        effects = work_at_hand().effects
        key = str(instance.id)
        for ask in asks:
            if ask.step == FAILED_STEP:
                command = self._failed_command(instance)
                if command is None:
                    instance.not_failing()
                    continue
                instance.failing()
                timeout = None
            elif ask.step == COMPLETED_STEP:
                command, timeout = instance.plan.completed, None
            else:
                step = instance.step(ask.step)
                assert step is not None
                command = step.undo if ask.undo else step.command
                timeout = _UNDO_TIMEOUT // _MICROSECOND if ask.undo else step.timeout
            assert command is not None
            now = self.world.clock.micros()
            effects.append(self._command(key, ask, command, now, timeout, context))
            if timeout is not None:
                effects.append(self._timer(key, ask, now + timeout, context))

    def _failed_command(self, instance: SagaInstance) -> StoredMessage | None:
        trigger = instance.plan.trigger
        event = self.codec.decode(trigger.name, trigger.version, trigger.data)
        assert isinstance(event, Event)
        failed = self.saga.plan(event).failed
        assert instance.why is not None
        return self._stored(failed(instance.why)) if failed is not None else None

    def _command(
        self, key: str, ask: Ask, command: StoredMessage, now: int, timeout: int | None, context: Context
    ) -> Any:
        id = self.world.ids.new()
        subject = f"{self.name}/{key}"
        direction = "undo" if ask.undo else "do"
        envelope = Envelope(
            specversion="1.0",
            id=id,
            source=self.routes.service,
            type=command.name,
            subject=subject,
            time=datetime_of(now),
            data=command.data,
            dataversion=command.version,
            correlationid=context.correlation_id,
            causationid=context.causation_id,
            principal=context.principal,
            traceparent=context.traceparent,
            notafter=datetime_of(now + timeout) if timeout is not None and not ask.undo else None,
            replyto=self.routes.service,
            replykey=f"{consumer_of(self.name)}|{key}|{ask.step}|{direction}",
        ).encode()
        return self.routes.command(self.codec.names.class_of(command.name), subject, id, envelope)

    def _timer(self, key: str, ask: Ask, due: int, context: Context) -> ArmTimer:
        data = msgspec.json.encode(_Timeout(ask.step, ask.undo, due))
        envelope = _own_message(self.routes.service, TIMEOUT, key, data, context, self.world)
        return ArmTimer(
            _timer(self.name, key, ask.step, ask.undo), due, Deliver(consumer_of(self.name), key, envelope, "timers")
        )

    def _disarm(self, key: str, step: str, undo: bool) -> None:
        if step not in (COMPLETED_STEP, FAILED_STEP):
            work_at_hand().effects.append(DisarmTimer(_timer(self.name, key, step, undo)))

    def _stages(self, plan: Plan) -> tuple[tuple[StoredStep, ...], ...]:
        return tuple(
            tuple(
                StoredStep(
                    step.id,
                    self._stored(step.command),
                    self._stored_or_none(step.undo),
                    step.timeout // _MICROSECOND,
                )
                for step in stage
            )
            for stage in plan.stages
        )

    def _stored(self, message: Message) -> StoredMessage:
        name, version, data = self.codec.encode(message)
        return StoredMessage(name, version, msgspec.Raw(data))

    def _stored_or_none(self, command: Command[None] | None) -> StoredMessage | None:
        return self._stored(command) if command is not None else None


def control_message(saga: str, id: UUID, control: SagaControl, service: str, world: World) -> Deliver:
    """What steers a saga by hand; it never waits behind a held message."""
    context = Context(world.ids.new())
    envelope = _own_message(service, CONTROL, str(id), msgspec.json.encode(control), context, world)
    return Deliver(consumer_of(saga), str(id), envelope, "timers")


def cancel_message(saga: str, id: UUID, why: str, service: str, context: Context, world: World) -> Deliver:
    """What asks a saga to stop and undo."""
    envelope = _own_message(service, CANCEL, str(id), msgspec.json.encode(_Cancel(why)), context, world)
    return Deliver(consumer_of(saga), str(id), envelope)


def _own_message(service: str, name: str, key: str, data: bytes, context: Context, world: World) -> bytes:
    return Envelope(
        specversion="1.0",
        id=world.ids.new(),
        source=service,
        type=name,
        subject=key,
        time=world.clock.now(),
        data=msgspec.Raw(data),
        correlationid=context.correlation_id,
        causationid=context.causation_id,
        principal=context.principal,
        traceparent=context.traceparent,
    ).encode()


def _timer(saga: str, key: str, step: str, undo: bool) -> str:
    return f"saga/{saga}/{key}/{step}/{'undo' if undo else 'do'}"

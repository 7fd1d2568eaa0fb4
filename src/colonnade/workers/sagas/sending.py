"""What the sagas of one definition send: the commands of their steps, each with the timer that waits for its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from colonnade.application import Plan, Saga
from colonnade.application.saga import COMPLETED_STEP, FAILED_STEP
from colonnade.messages import Command, Event, Message
from colonnade.messages.codec import MessageCodec
from colonnade.observability.correlation import Context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.envelopes import enveloped
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.persistence.unit import Effect
from colonnade.workers.sagas.history import SagaStarted, StoredMessage, StoredStep
from colonnade.workers.sagas.instance import Ask, SagaInstance
from colonnade.workers.sagas.messages import consumer_of, timeout_timer
from colonnade.world import World, datetime_of, text_of

__all__ = ["LAST_STEP_TIMEOUT", "UNDO_TIMEOUT", "SagaSender"]

UNDO_TIMEOUT = timedelta(hours=1)
"""An undoing that was not answered for so long counts as failed: longer than a failing message is tried."""

LAST_STEP_TIMEOUT = timedelta(seconds=60)
"""When the command that tells the end was not answered for so long, the saga is stuck, and says so."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SagaSender:
    """Turns what an instance asks for into effects; commands are stored by name, as all messages are."""

    name: str
    saga: Saga[Any]
    codec: MessageCodec
    routes: Routes
    world: World

    def started(self, key: Any, trigger: StoredMessage, event: Event) -> SagaStarted:
        """The first event of the saga for `event`, with its whole plan."""
        plan = self.saga.plan(event)
        return SagaStarted(
            self.name, self.saga.version, key, trigger, self._stages(plan), self._stored_or_none(plan.completed)
        )

    def effects(self, instance: SagaInstance, asks: Sequence[Ask], context: Context) -> list[Effect]:
        """The effects that send `asks`; the instance records which command tells of its failure, if there is one."""
        effects: list[Effect] = []
        now = self.world.clock.micros()
        for ask in asks:
            expires = None
            if ask.step == FAILED_STEP:
                command = self._failed_command(instance)
                if command is None:
                    instance.not_failing()
                    continue
                instance.failing()
                due = now + LAST_STEP_TIMEOUT // _MICROSECOND
            elif ask.step == COMPLETED_STEP:
                command, due = instance.plan.completed, now + LAST_STEP_TIMEOUT // _MICROSECOND
            else:
                step = instance.step(ask.step)
                assert step is not None
                if ask.undo:
                    command, due = step.undo, now + UNDO_TIMEOUT // _MICROSECOND
                else:
                    command, due = step.command, now + step.timeout
                    expires = due
            assert command is not None
            key = text_of(instance.id)
            asked = ReplyKey(consumer_of(self.name), key, ask.step, ask.direction, instance.times_asked(ask))
            effects.append(self._command(asked, command, now, expires, context))
            place = instance.place_of(ask)
            effects.append(timeout_timer(self.name, asked, place, due, self.routes.service, context, self.world))
        return effects

    def _failed_command(self, instance: SagaInstance) -> StoredMessage | None:
        trigger = instance.plan.trigger
        event = self.codec.decode(trigger.name, trigger.version, trigger.data)
        assert isinstance(event, Event)
        failed = self.saga.plan(event).failed
        assert instance.why is not None
        return self._stored(failed(instance.why)) if failed is not None else None

    def _command(
        self, asked: ReplyKey, command: StoredMessage, now: int, expires: int | None, context: Context
    ) -> Effect:
        id = self.world.ids.new()
        # A line for each step: its undoing stays behind it, and steps together do not wait for each other
        subject = f"{self.name}/{asked.key}/{asked.step}"
        envelope = enveloped(
            context,
            id=id,
            source=self.routes.service,
            type=command.name,
            subject=subject,
            time=datetime_of(now),
            data=command.data,
            version=command.version,
            not_after=datetime_of(expires) if expires is not None else None,
            reply_to=self.routes.service,
            reply_key=str(asked),
        )
        return self.routes.command(self.codec.names.class_of(command.name), subject, id, envelope)

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

"""The messages that a service sends to its own sagas: a step's time is over, stop, do what a person decides."""

from typing import Literal
from uuid import UUID

import msgspec

from colonnade.observability.correlation import Context
from colonnade.persistence.envelopes import enveloped
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.persistence.unit import ArmTimer, Deliver
from colonnade.world import World

__all__ = [
    "CANCEL",
    "CONTROL",
    "TIMEOUT",
    "SagaCancel",
    "SagaControl",
    "SagaTimeout",
    "cancel_message",
    "consumer_of",
    "control_message",
    "timeout_timer",
    "timer_name",
    "timers_of",
]

TIMEOUT = "colonnade.SagaTimeout"
CANCEL = "colonnade.SagaCancel"
CONTROL = "colonnade.SagaControl"


class SagaTimeout(msgspec.Struct, frozen=True):
    """What was asked for the `number`th time, a step or its undoing, was to be answered by now."""

    step: str
    undo: bool
    number: int


class SagaCancel(msgspec.Struct, frozen=True):
    """The saga is to stop and undo what it did."""

    why: str


class SagaControl(msgspec.Struct, frozen=True):
    """What a person asks of a saga."""

    action: Literal["retry", "skip", "compensate", "close"]
    step: str | None = None


def consumer_of(saga: str) -> str:
    """The consumer of a service's inbox that runs the sagas called `saga`."""
    return f"saga:{saga}"


def timer_name(saga: str, key: str, place: int, *, undo: bool) -> str:
    """The name of the timer that waits for the answer to the step at a place of its stage, or to its undoing.

    Stages come one after the other, so that the next step at that place takes the timer over: one row changes, where
    else one would go and another come.
    """
    return f"{timers_of(saga)}{key}/{place}/{'undo' if undo else 'do'}"


def timers_of(saga: str) -> str:
    """What the names of the timers of all sagas called `saga` begin with, before the key and a slash."""
    return f"saga/{saga}/"


def timeout_timer(
    saga: str, asked: ReplyKey, place: int, due: int, service: str, context: Context, world: World
) -> ArmTimer:
    """What tells a saga at `due` (microseconds since 1970-01-01T00:00:00Z) that there was no answer."""
    data = msgspec.json.encode(SagaTimeout(asked.step, asked.undo, asked.number))
    envelope = _own_message(service, TIMEOUT, asked.key, data, context, world)
    name = timer_name(saga, asked.key, place, undo=asked.undo)
    return ArmTimer(name, due, Deliver(asked.consumer, asked.key, envelope, "timers"))


def control_message(saga: str, id: UUID, control: SagaControl, service: str, world: World) -> Deliver:
    """What steers a saga by hand; it never waits behind a held message."""
    context = Context(world.ids.new())
    envelope = _own_message(service, CONTROL, str(id), msgspec.json.encode(control), context, world)
    return Deliver(consumer_of(saga), str(id), envelope, "controls")


def cancel_message(saga: str, id: UUID, why: str, service: str, context: Context, world: World) -> Deliver:
    """What asks a saga to stop and undo."""
    envelope = _own_message(service, CANCEL, str(id), msgspec.json.encode(SagaCancel(why)), context, world)
    return Deliver(consumer_of(saga), str(id), envelope)


def _own_message(service: str, name: str, key: str, data: bytes, context: Context, world: World) -> bytes:
    return enveloped(
        context,
        id=world.ids.new(),
        source=service,
        type=name,
        subject=key,
        time=world.clock.now(),
        data=data,
    )

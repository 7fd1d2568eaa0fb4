"""Messages at hand, what may be committed together with others, and what is then left of it."""

from collections.abc import Collection, Sequence

import msgspec

from colonnade.messages.envelope import Envelope
from colonnade.persistence.unit import (
    ArmTimer,
    Defer,
    Deliver,
    DisarmTimer,
    Effect,
    Handled,
    HandledAtOnce,
    Incoming,
    Settle,
    Unit,
    Write,
    WriteMany,
)

__all__ = ["AtHand", "is_of_message", "leaves_nothing_to_look_for", "may_be_joined", "relieved", "say_once"]

_SQL = frozenset({Write, WriteMany})

_LOOKED_FOR = frozenset({Defer, Settle})
"""What a unit changes that a handler reads in the store, where it must be first: whoever settles for one."""


class AtHand(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A message that could be done at once, and the effect that else brings it into the inbox."""

    brought_by: Deliver | Incoming
    envelope: Envelope

    @property
    def line(self) -> tuple[str, str]:
        """Its consumer and its key."""
        return self.brought_by.consumer, self.brought_by.key

    @property
    def kind(self) -> tuple[str, str]:
        """Its consumer and its stored name."""
        return self.brought_by.consumer, self.envelope.type


def is_of_message(unit: Unit) -> bool:
    """Whether `unit` handles a message."""
    return bool(unit.effects) and type(unit.effects[0]) is Handled


def may_be_joined(unit: Unit) -> bool:
    """Whether `unit` may be committed with others: one with SQL takes long, and a fence is for what it fences."""
    return unit.fence is None and _SQL.isdisjoint(map(type, unit.effects))


def leaves_nothing_to_look_for(unit: Unit) -> bool:
    """Whether what follows from `unit` finds in the store all that it may look for there before it is committed."""
    return _LOOKED_FOR.isdisjoint(map(type, unit.effects))


def relieved(unit: Unit, done: Collection[int], *, itself: bool = False) -> Unit:
    """`unit` without what brings messages that are done, and without its own mark where it is done at once `itself`.

    `done` are the ids of the effects that bring them.
    """
    effects: list[Effect] = [
        HandledAtOnce(effect.consumer, effect.key) if type(effect) is Deliver and id(effect) in done else effect
        for effect in (unit.effects[1:] if itself else unit.effects)
    ]
    return Unit(unit.time, unit.correlation_id, unit.causation_id, unit.principal, effects, unit.fence)


def say_once(units: Sequence[Unit]) -> None:
    """Leave of what is said of one timer only the last word, and look at a line once: more take their turns."""
    lines: set[tuple[str, str]] = set()
    last: dict[str, Effect] = {}
    for unit in units:
        for effect in unit.effects:
            if (timer := _timer_of(effect)) is not None:
                last[timer] = effect
    for unit in units:
        kept: list[Effect] = []
        for effect in unit.effects:
            if type(effect) is HandledAtOnce:
                line = (effect.consumer, effect.key)
                if line in lines:
                    continue
                lines.add(line)
            elif (timer := _timer_of(effect)) is not None and last[timer] is not effect:
                continue
            kept.append(effect)
        unit.effects = kept


def _timer_of(effect: Effect) -> str | None:
    if isinstance(effect, ArmTimer) or (isinstance(effect, DisarmTimer) and effect.due is None):
        return effect.name
    return None

"""Which units of work go into one statement: those that want no row of each other."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import msgspec

from colonnade.persistence.unit import (
    Advance,
    Answer,
    Append,
    ArmTimer,
    Defer,
    DisarmTimer,
    Discard,
    Expect,
    Forget,
    Handled,
    HandledAtOnce,
    NoteLoss,
    Park,
    PassOver,
    Receive,
    Retry,
    Settle,
    Snapshot,
    Succeed,
    Unit,
    Unpark,
    Write,
    WriteMany,
)

__all__ = ["Candidate", "candidate", "seal"]


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A unit that waits, at its place in what was handed in, and the rows that it wants."""

    place: int
    unit: Unit
    wants: frozenset[Hashable]
    apart: bool
    """Whether it needs a transaction of its own."""
    in_order: bool
    """Whether it wants one row twice, so that its effects are carried out one after the other."""


_WANTED: Mapping[type[Any], Callable[[Any], Hashable]] = {
    Append: lambda effect: effect.stream,
    Expect: lambda effect: effect.stream,
    Snapshot: lambda effect: ("snapshot", effect.stream),
    Handled: lambda effect: effect.row,
    HandledAtOnce: lambda effect: ("line", effect.consumer, effect.key),
    Retry: lambda effect: effect.row,
    Park: lambda effect: effect.row,
    Unpark: lambda effect: effect.row,
    Discard: lambda effect: effect.row,
    Receive: lambda effect: effect.chain,
    Succeed: lambda effect: effect.chain,
    NoteLoss: lambda effect: ("loss", effect.chain, effect.after),
    PassOver: lambda effect: ("loss", effect.row),
    ArmTimer: lambda effect: ("timer", effect.name),
    DisarmTimer: lambda effect: ("timer", effect.name),
    Answer: lambda effect: ("answer", effect.scope),
    Forget: lambda effect: ("answer", effect.scope),
    Advance: lambda effect: ("checkpoint", effect.projection),
    Defer: lambda effect: ("deferral", effect.key, effect.reply_to, effect.reply_key),
    Settle: lambda effect: ("deferral", effect.key, effect.reply_to, effect.reply_key),
}
_APART = (Write, WriteMany, Park, Unpark, Discard, PassOver)


def candidate(place: int, unit: Unit) -> Candidate:
    """What `unit` wants."""
    wanted: list[Hashable] = []
    apart = False
    versions: dict[str, int] = {}
    for each in (unit, *unit.followers):
        for effect in each.effects:
            kind = type(effect)
            if unit.followers and isinstance(effect, Append):
                goes_on = versions.get(effect.stream) == effect.expected
                versions[effect.stream] = effect.expected + len(effect.events)
                if goes_on:
                    continue
            name = _WANTED.get(kind)
            if name is not None:
                wanted.append(name(effect))
            if kind in _APART:
                apart = True
    wants = frozenset(wanted)
    in_order = len(wants) < len(wanted)
    return Candidate(place, unit, wants, apart or in_order, in_order)


def seal(waiting: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """The units of the next batch, and those that wait for a later one: nobody overtakes whom it would meet."""
    first = waiting[0]
    if first.apart:
        return [first], list(waiting[1:])
    sealed, later = [first], []
    wanted: set[Hashable] = set(first.wants)
    for each in waiting[1:]:
        if each.apart or not wanted.isdisjoint(each.wants):
            later.append(each)
        else:
            sealed.append(each)
        wanted |= each.wants
    return sealed, later

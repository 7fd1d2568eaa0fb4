"""Units of work as one statement: a call of a function for each kind of effect, over all units at once."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from colonnade.persistence.moments import earliest
from colonnade.persistence.own_chains import OWN_CHAINS
from colonnade.persistence.partitions import partition_of
from colonnade.persistence.store import OutboxRow, Touched
from colonnade.persistence.unit import (
    Advance,
    Answer,
    Append,
    ArmTimer,
    Defer,
    Deliver,
    DisarmTimer,
    Discard,
    Expect,
    Fence,
    Forget,
    Handled,
    HandledAtOnce,
    KeepAside,
    NoteLoss,
    Park,
    PassOver,
    Publish,
    Receive,
    Relayed,
    Retry,
    Settle,
    Snapshot,
    Succeed,
    Unit,
    Unpark,
)

__all__ = ["Batch"]

# In this order, whatever the order of the effects: who has been answered, overtaken or handled is told that rather
# than that a stream has moved, and positions, which hold the horizon of readers, are drawn last.
_FUNCTIONS: Mapping[str, int] = {
    "hold_leases": 3,
    "keep_answers": 1,
    "advance_checkpoints": 4,
    "handle_messages": 2,
    "retry_messages": 5,
    "park_message": 6,
    "unpark_message": 3,
    "discard_message": 2,
    "disarm_timers": 3,
    "succeed_chains": 8,
    "pass_over": 4,
    "note_losses": 8,
    "receive_messages": 4,
    "expect_versions": 3,
    "forget_answers": 1,
    "mark_relayed": 3,
    "keep_snapshots": 4,
    "keep_aside": 4,
    "arm_timers": 1,
    "defer_replies": 3,
    "settle_replies": 3,
    "expect_free_lines": 3,
    "deliver_messages": 1,
    "append_events": 1,
    "publish_messages": 1,
}
"""How many arguments each function takes beside what it hands on."""

_PLACES = {name: place for place, name in enumerate(_FUNCTIONS)}
_DRAWING = frozenset({"append_events", "publish_messages"})


@cache
def _call(schema: str, names: tuple[str, ...], *, newest: bool, numbered: bool) -> str:
    # Nested, since the arguments of a function are there before it runs: the order is certain
    call, number = f'"{schema}".begin_units($1)', 1
    if numbered:
        call, number = f'"{schema}".begin_batch($1, $2, $3)', 3
    for name in names:
        arguments = [f"${number + place + 1}" for place in range(_FUNCTIONS[name])]
        number += len(arguments)
        call = f'"{schema}".{name}({", ".join([call, *arguments])})'
    if newest:
        call = f'"{schema}".newest_position({call})'
    return f"SELECT {call}"


class Batch:
    """Collects the effects of units; no two of them may want the same row."""

    def __init__(self, schema: str, partitions: int) -> None:
        self._schema = schema
        self._partitions = partitions
        self._columns: dict[str, list[Any]] = {}
        self._units = 0
        self._last_event: list[int | None] = []
        self._published: list[Publish] = []
        self._versions: dict[str, int] = {}
        self.touched = 0
        """What it adds to, as a number: joining flags takes a microsecond."""
        self.drawn = 0
        """How many positions it draws."""
        self.rows = 0
        """How many rows it adds to the inbox."""
        self.armed: int | None = None
        """The earliest moment of the timers that it arms."""

    def add(self, unit: Unit) -> None:
        """Add all effects of a unit but its SQL; its place in the batch is how many came before."""
        number = self._begin(unit)
        for each in (unit, *unit.followers):
            for effect in each.effects:
                apply = _APPLIERS.get(type(effect))
                if apply is not None:  # SQL is run by itself
                    apply(self, effect, each, number)

    def add_effect(self, effect: Any, unit: Unit) -> None:
        """Add one effect of a unit, and nothing else of it."""
        _APPLIERS[type(effect)](self, effect, unit, self._begin(None))

    def _begin(self, unit: Unit | None) -> int:
        number = self._units
        self._units += 1
        self._last_event.append(None)
        if unit is not None and unit.fence is not None:
            self.hold(unit.fence, number)
        return number

    def hold(self, fence: Fence, number: int = 0) -> None:
        """Let nothing be committed when the lease has another epoch."""
        units, names, epochs = self._of("hold_leases")
        units.append(number)
        names.append(fence.lease)
        epochs.append(fence.epoch)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be called."""
        return not self._columns

    def statement(self, lock_milliseconds: int, mark: tuple[bytes, int] | None = None) -> tuple[str, list[Any]]:
        """The statement and its arguments; it returns what it draws: for the events, then for the messages.

        `mark` is the writer, and the number of the batch, where this is all of it.
        """
        columns = self._columns
        names = tuple(sorted(columns, key=_PLACES.__getitem__))
        arguments: list[Any] = [lock_milliseconds] if mark is None else [lock_milliseconds, *mark]
        for name in names:
            arguments += columns[name]
        return _call(self._schema, names, newest="append_events" not in columns, numbered=mark is not None), arguments

    def split(self) -> tuple["Batch", "Batch"]:
        """What checks and changes, and what draws positions: for SQL to be run between the two."""
        first, second = Batch(self._schema, self._partitions), Batch(self._schema, self._partitions)
        first._columns = {name: columns for name, columns in self._columns.items() if name not in _DRAWING}
        second._columns = {name: columns for name, columns in self._columns.items() if name in _DRAWING}
        second._published, second.drawn = self._published, self.drawn
        return first, second

    def position_of(self, number: int, drawn: Sequence[int]) -> int:
        """The position of a unit's last event, or of the log's end when it has none."""
        place = self._last_event[number]
        if place is None:
            place = self.drawn - len(self._published) - 1  # the last event's, or the log's end behind all that is drawn
        return drawn[place]

    def outbox_rows(self, drawn: Sequence[int]) -> list[OutboxRow]:
        """Its messages as they lie in the outbox."""
        if not self._published:
            return []
        (rows,) = self._columns["publish_messages"]
        seqs = drawn[self.drawn - len(rows) : self.drawn]
        return [
            OutboxRow(seq, row[0], row[1], row[2], effect.id, effect.envelope)
            for seq, row, effect in zip(seqs, rows, self._published, strict=True)
        ]

    def _of(self, name: str) -> list[Any]:
        columns = self._columns.get(name)
        if columns is None:
            columns = self._columns[name] = [[] for _ in range(_FUNCTIONS[name])]
        return columns

    def _append(self, effect: Append, unit: Unit, number: int) -> None:
        if not effect.events:
            self._row("expect_versions", number, effect.stream, effect.expected)
            return
        (rows,) = self._of("append_events")
        version = effect.expected
        # One that goes on where another of the same unit ends is there when that is
        before = self._versions.setdefault(effect.stream, version)
        correlation = unit.correlation_id.bytes
        causation = unit.causation_id.bytes if unit.causation_id is not None else None
        for event in effect.events:
            version += 1
            rows.append((
                number, effect.stream, before, version, event.id.bytes, event.name, event.schema, event.data, unit.time,
                correlation, causation, unit.principal,
            ))  # fmt: skip
        self._last_event[number] = len(rows) - 1
        self.drawn += len(effect.events)
        self.touched |= _EVENTS

    def _expect(self, effect: Expect, unit: Unit, number: int) -> None:
        self._row("expect_versions", number, effect.stream, effect.version)

    def _publish(self, effect: Publish, unit: Unit, number: int) -> None:
        partition = partition_of(effect.key, self._partitions)
        (rows,) = self._of("publish_messages")
        rows.append((effect.topic, partition, effect.key, effect.id.bytes, effect.envelope, unit.time))
        self._published.append(effect)
        self.drawn += 1
        self.touched |= _OUTBOX

    def _deliver(self, effect: Deliver, unit: Unit, number: int) -> None:
        delivered = (OWN_CHAINS[effect.lane], effect.consumer, effect.key, effect.envelope, unit.time)
        self._row("deliver_messages", delivered)
        self.rows += 1
        self.touched |= _INBOX

    def _handled(self, effect: Handled, unit: Unit, number: int) -> None:
        units, rows = self._of("handle_messages")
        units.append(number)
        rows.append(effect.row)

    def _handled_at_once(self, effect: HandledAtOnce, unit: Unit, number: int) -> None:
        self._row("expect_free_lines", number, effect.consumer, effect.key)

    def _retry(self, effect: Retry, unit: Unit, number: int) -> None:
        self._row("retry_messages", number, effect.row, effect.attempts, effect.not_before, effect.cause)
        self.touched |= _INBOX

    def _park(self, effect: Park, unit: Unit, number: int) -> None:
        values = [number, effect.row, effect.attempts, effect.cause, effect.hold, unit.time]
        self._columns["park_message"] = values

    def _unpark(self, effect: Unpark, unit: Unit, number: int) -> None:
        self._columns["unpark_message"] = [number, effect.row, effect.envelope]
        self.touched |= _INBOX

    def _discard(self, effect: Discard, unit: Unit, number: int) -> None:
        self._columns["discard_message"] = [number, effect.row]
        self.touched |= _INBOX

    def _receive(self, effect: Receive, unit: Unit, number: int) -> None:
        marks, messages, completed, at_once = self._of("receive_messages")
        chain = effect.chain
        marks.append((
            number, chain.source, chain.history, chain.topic, chain.partition, effect.expected, effect.received,
        ))  # fmt: skip
        place, time = len(marks), unit.time
        for message in effect.messages:
            messages.append((
                place, message.seq, message.prev, message.consumer, message.key, message.ready, message.envelope,
                message.sent_at, time,
            ))  # fmt: skip
        for seq in effect.completed:
            completed.append((place, seq))
        for consumer, key in effect.at_once:
            at_once.append((place, consumer, key))
        self.rows += len(effect.messages)
        if effect.messages or effect.completed:
            self.touched |= _INBOX

    def _succeed(self, effect: Succeed, unit: Unit, number: int) -> None:
        chain = effect.chain
        marks = (chain.source, chain.history, chain.topic, chain.partition)
        self._row("succeed_chains", *marks, effect.history, effect.shared, effect.reason, unit.time)

    def _note_loss(self, effect: NoteLoss, unit: Unit, number: int) -> None:
        chain = effect.chain
        marks = (chain.source, chain.history, chain.topic, chain.partition)
        self._row("note_losses", *marks, effect.after, effect.up_to, effect.reason, effect.since)

    def _pass_over(self, effect: PassOver, unit: Unit, number: int) -> None:
        self._columns["pass_over"] = [number, effect.row, effect.by, unit.time]
        self.touched |= _INBOX

    def _relayed(self, effect: Relayed, unit: Unit, number: int) -> None:
        self._row("mark_relayed", effect.topic, effect.partition, effect.seq)

    def _keep_aside(self, effect: KeepAside, unit: Unit, number: int) -> None:
        self._row("keep_aside", effect.origin, effect.reason, effect.data, unit.time)

    def _arm(self, effect: ArmTimer, unit: Unit, number: int) -> None:
        message = effect.message
        kept: tuple[object, ...]
        if isinstance(message, Deliver):
            kept = ("deliver", message.consumer, message.key, message.lane, None, message.envelope)
        else:
            kept = ("publish", message.topic, message.key, "", message.id, message.envelope)
        self._row("arm_timers", (effect.name, effect.due, *kept))
        self.armed = earliest(self.armed, effect.due)
        self.touched |= _TIMERS

    def _disarm(self, effect: DisarmTimer, unit: Unit, number: int) -> None:
        self._row("disarm_timers", number, effect.name, effect.due)

    def _answer(self, effect: Answer, unit: Unit, number: int) -> None:
        answer = (number, effect.scope, effect.fingerprint, effect.response, effect.expires, unit.time)
        self._row("keep_answers", answer)

    def _forget(self, effect: Forget, unit: Unit, number: int) -> None:
        self._row("forget_answers", effect.scope)

    def _snapshot(self, effect: Snapshot, unit: Unit, number: int) -> None:
        self._row("keep_snapshots", effect.stream, effect.version, effect.schema, effect.data)

    def _advance(self, effect: Advance, unit: Unit, number: int) -> None:
        self._row("advance_checkpoints", number, effect.projection, effect.before, effect.after)
        self.touched |= _CHECKPOINTS

    def _defer(self, effect: Defer, unit: Unit, number: int) -> None:
        self._row("defer_replies", effect.key, effect.reply_to, effect.reply_key)

    def _settle(self, effect: Settle, unit: Unit, number: int) -> None:
        self._row("settle_replies", effect.key, effect.reply_to, effect.reply_key)

    def _row(self, name: str, *values: object) -> None:
        for column, value in zip(self._of(name), values, strict=True):
            column.append(value)


# Not in each batch: that would be a circle, which waits for the collector
_APPLIERS: Mapping[type[Any], Callable[[Batch, Any, Unit, int], None]] = {
    Append: Batch._append,
    Expect: Batch._expect,
    Publish: Batch._publish,
    Deliver: Batch._deliver,
    Handled: Batch._handled,
    HandledAtOnce: Batch._handled_at_once,
    Retry: Batch._retry,
    Park: Batch._park,
    Unpark: Batch._unpark,
    Discard: Batch._discard,
    Receive: Batch._receive,
    Succeed: Batch._succeed,
    NoteLoss: Batch._note_loss,
    PassOver: Batch._pass_over,
    Relayed: Batch._relayed,
    KeepAside: Batch._keep_aside,
    ArmTimer: Batch._arm,
    DisarmTimer: Batch._disarm,
    Answer: Batch._answer,
    Forget: Batch._forget,
    Snapshot: Batch._snapshot,
    Advance: Batch._advance,
    Defer: Batch._defer,
    Settle: Batch._settle,
}

_EVENTS, _OUTBOX, _INBOX = Touched.EVENTS.value, Touched.OUTBOX.value, Touched.INBOX.value
_TIMERS, _CHECKPOINTS = Touched.TIMERS.value, Touched.CHECKPOINTS.value

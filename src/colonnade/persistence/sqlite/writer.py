"""The one writer of a SQLite store: checks and applies the units of a batch in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from colonnade.persistence.coalescing import Written
from colonnade.persistence.failures import (
    AlreadyAnswered,
    AlreadyHandled,
    LeaseLost,
    LineBusy,
    MarkMoved,
    MessageTooLarge,
    NotParked,
    StoreConflict,
    StoredAnswer,
    TimerGone,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.moments import earliest
from colonnade.persistence.partitions import partition_of
from colonnade.persistence.sizes import check_size
from colonnade.persistence.sqlite.inbox import InboxWriter
from colonnade.persistence.sqlite.statements import WriteStatements
from colonnade.persistence.sqlite.transactions import DRIVER_ERRORS, Transactions, failed
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import (
    Advance,
    Answer,
    Append,
    ArmTimer,
    Deliver,
    DisarmTimer,
    Discard,
    Expect,
    Fence,
    Handled,
    HandledAtOnce,
    Park,
    PassOver,
    Publish,
    Receive,
    Retry,
    Succeed,
    Unit,
    Unpark,
)

__all__ = ["SqliteWriter"]

_VERSIONS_REMEMBERED = 20_000

_INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_OUTBOX = "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)"
_VERSION = "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?"

# As numbers: an effect that joins flags takes a microsecond for it
_EVENTS, _OUTBOX, _INBOX = Touched.EVENTS.value, Touched.OUTBOX.value, Touched.INBOX.value


class _UnitFailed(Exception):
    """One unit of a batch cannot be written, and has left half of itself in the transaction."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, error)
        self.place, self.error = place, error


class SqliteWriter:
    """Writes batches of units.

    It is the only writer of the file, so that the versions of streams and the ends of the log and the outbox can be
    remembered instead of read.
    """

    def __init__(self, transactions: Transactions, partitions: int) -> None:
        connection = transactions.connection
        self._transactions = transactions
        self._connection = connection
        self._run = connection.execute
        self._partitions = partitions
        self.inbox = InboxWriter(connection)
        self._statements = WriteStatements(connection)
        self._remember()
        transactions.when_rolled_back(self._forget)
        # What can lose is looked at before anything of its unit is written
        self._checks: Mapping[type[Any], Callable[[Any, Unit], None]] = {
            Publish: _check_size,
            Deliver: _check_size,
            Handled: self._check_waiting,
            Retry: self._check_waiting,
            Park: self._check_waiting,
            Unpark: self._check_edited,
            Discard: self._check_parked,
            Answer: self._check_answer,
            Receive: self._check_chain,
            PassOver: self._check_hole,
            Advance: self._check_checkpoint,
            ArmTimer: _check_size,
            DisarmTimer: self._check_armed,
        }
        inbox = self.inbox
        self._appliers: Mapping[type[Any], Callable[[Any, Unit], None]] = {
            **self._statements.appliers,
            Advance: self._touching(Touched.CHECKPOINTS, self._statements.appliers[Advance]),
            Append: self._append,
            Expect: lambda effect, unit: None,
            Publish: self._publish,
            Deliver: self._touching(Touched.INBOX, lambda effect, unit: inbox.deliver(effect, unit.time)),
            Receive: self._receive,
            Succeed: lambda effect, unit: inbox.succeed(effect, unit.time),
            PassOver: self._touching(Touched.INBOX, lambda effect, unit: inbox.pass_over(effect, unit.time)),
            Handled: lambda effect, unit: inbox.handled(effect),
            HandledAtOnce: lambda effect, unit: None,
            Retry: self._touching(Touched.INBOX, lambda effect, unit: inbox.retry(effect)),
            Park: lambda effect, unit: inbox.park(effect, unit.time),
            Unpark: self._touching(Touched.INBOX, lambda effect, unit: inbox.unpark(effect)),
            Discard: self._touching(Touched.INBOX, lambda effect, unit: inbox.discard(effect)),
            ArmTimer: self._touching(Touched.TIMERS, self._arm),
        }

    async def write(self, batch: Sequence[Unit]) -> Written:
        """Commit the units of `batch` that lose against nobody; the result of each stands in its place."""
        results: list[Committed | Exception] = [Committed(0)] * len(batch)
        places = list(range(len(batch)))
        while places:
            try:
                await self._transactions.run_uncancelled(lambda: self._write_together(batch, places, results))
            except _UnitFailed as failure:
                # Once more without it: it harms no other
                results[failure.place] = failure.error
                places.remove(failure.place)
            except WriteFailed as error:
                if len(batch) == 1:
                    return Written([error], Touched(0))
                # Which unit's rows were refused is not known when all are inserted at once
                return _joined([await self._write_alone(unit) for unit in batch])
            else:
                self.inbox.committed()
                return Written(results, Touched(self._touched), self._armed)
        return Written(results, Touched(0))

    async def _write_alone(self, unit: Unit) -> Written:
        try:
            return await self.write([unit])
        except Exception as error:  # the database failed: those committed before are committed all the same
            return Written([error], Touched(0))

    def _write_together(
        self, batch: Sequence[Unit], places: Sequence[int], results: list[Committed | Exception]
    ) -> None:
        if self._forgotten:
            self._remember()
        self._events: list[tuple[object, ...]] = []
        self._outbox: list[tuple[object, ...]] = []
        self._touched = 0
        self._armed: int | None = None
        for place in places:
            unit = batch[place]
            try:
                self._check(unit)
            except (StoreConflict, MessageTooLarge) as lost:
                results[place] = lost
                continue
            except DRIVER_ERRORS as error:
                results[place] = self._refusal(error)
                continue
            try:
                self._apply(unit)
            except DRIVER_ERRORS as error:
                raise _UnitFailed(place, self._refusal(error)) from error
            except Exception as error:
                raise _UnitFailed(place, error) from error
            results[place] = Committed(self._end)
        if self._events:
            self._connection.executemany(_INSERT_EVENT, self._events)
            self._touched |= _EVENTS
        if self._outbox:
            self._connection.executemany(_INSERT_OUTBOX, self._outbox)
            self._touched |= _OUTBOX

    def _refusal(self, error: Exception) -> WriteFailed:
        """What is wrong with a unit; raises what is wrong with the database."""
        translated = failed(self._transactions.path, error)
        if not isinstance(translated, WriteFailed):
            raise translated from error
        translated.__cause__ = error
        return translated

    def _forget(self) -> None:
        self._forgotten = True

    def _remember(self) -> None:
        self._end: int = self._run("SELECT coalesce(max(position), 0) FROM events").get
        self._outbox_end: int = self._run(
            "SELECT max(coalesce((SELECT max(seq) FROM outbox), 0), coalesce((SELECT max(seq) FROM relayed), 0))"
        ).get
        self._versions: dict[str, int] = {}
        self.inbox.remember()
        self._forgotten = False

    def _touching(self, touched: Touched, apply: Callable[[Any, Unit], None]) -> Callable[[Any, Unit], None]:
        bit = touched.value

        def apply_and_tell(effect: Any, unit: Unit) -> None:
            apply(effect, unit)
            self._touched |= bit

        return apply_and_tell

    def _arm(self, effect: ArmTimer, unit: Unit) -> None:
        self._statements.arm(effect, unit)
        self._armed = earliest(self._armed, effect.due)

    def _check(self, unit: Unit) -> None:
        if unit.fence is not None:
            self._check_fence(unit.fence)
        checks = self._checks
        if unit.followers:
            _check_answered_once(unit)
        appended: dict[str, int] = {}
        for each in (unit, *unit.followers):
            for effect in each.effects:
                if type(effect) is Append:
                    stream = effect.stream
                    actual = appended.get(stream) or self._version_of(stream)
                    if actual != effect.expected:
                        raise VersionConflict(stream, effect.expected, actual)
                    appended[stream] = actual + len(effect.events)
                elif type(effect) is Expect:
                    actual = self._version_of(effect.stream)
                    if actual != effect.version:
                        raise VersionConflict(effect.stream, effect.version, actual)
                elif type(effect) is HandledAtOnce:
                    self._check_free(effect, unit)  # only the first of them handles what was in the inbox
                elif (check := checks.get(type(effect))) is not None:
                    check(effect, each)

    def _apply(self, unit: Unit) -> None:
        appliers = self._appliers
        for each in (unit, *unit.followers):
            for effect in each.effects:
                appliers[type(effect)](effect, each)

    def _version_of(self, stream: str) -> int:
        version = self._versions.get(stream)
        if version is None:
            version = self._versions[stream] = self._run(_VERSION, (stream,)).get
        return version

    def _check_fence(self, fence: Fence) -> None:
        epoch = self._run("SELECT epoch FROM leases WHERE name = ?", (fence.lease,)).get
        if epoch != fence.epoch:
            raise LeaseLost(fence.lease, fence.epoch)

    def _check_armed(self, effect: DisarmTimer, unit: Unit) -> None:
        if effect.due is None:
            return
        if self._run("SELECT 1 FROM timers WHERE name = ? AND due = ?", (effect.name, effect.due)).get is None:
            raise TimerGone(effect.name)

    def _check_waiting(self, effect: Handled | Retry | Park, unit: Unit) -> None:
        if not self.inbox.has(effect.row):
            raise AlreadyHandled(effect.row)

    def _check_parked(self, effect: Unpark | Discard, unit: Unit) -> None:
        if not self.inbox.has_parked(effect.row):
            raise NotParked(effect.row)

    def _check_edited(self, effect: Unpark, unit: Unit) -> None:
        check_size(effect)
        self._check_parked(effect, unit)

    def _check_answer(self, effect: Answer, unit: Unit) -> None:
        row = self._run(
            "SELECT fingerprint, response FROM answers WHERE scope = ? AND expires > ?", (effect.scope, unit.time)
        ).get
        if row is not None:
            raise AlreadyAnswered(effect.scope, StoredAnswer(*row))

    def _check_chain(self, effect: Receive, unit: Unit) -> None:
        received = self.inbox.received(effect.chain)
        if received != effect.expected:
            raise MarkMoved(f"The chain {effect.chain}", effect.expected, received)
        for consumer, key in effect.at_once:
            if not self.inbox.is_free(consumer, key, effect.chain):
                raise LineBusy(consumer, key)

    def _check_free(self, effect: HandledAtOnce, unit: Unit) -> None:
        handled = [each.row for each in unit.effects if type(each) is Handled]
        if not self.inbox.is_free(effect.consumer, effect.key, handled=handled):
            raise LineBusy(effect.consumer, effect.key)

    def _check_hole(self, effect: PassOver, unit: Unit) -> None:
        self.inbox.hole(effect.row)

    def _check_checkpoint(self, effect: Advance, unit: Unit) -> None:
        position = self._run("SELECT position FROM checkpoints WHERE projection = ?", (effect.projection,)).get or 0
        if position != effect.before:
            raise MarkMoved(f"The projection {effect.projection}", effect.before, position)

    def _append(self, effect: Append, unit: Unit) -> None:
        position, version, stream = self._end, effect.expected, effect.stream
        correlation, time, principal = unit.correlation_id.bytes, unit.time, unit.principal
        causation = unit.causation_id.bytes if unit.causation_id is not None else None
        rows = self._events
        for event in effect.events:
            position += 1
            version += 1
            rows.append(
                (
                    position, stream, version, event.id.bytes, event.name, event.schema, event.data,
                    time, correlation, causation, principal,
                )
            )  # fmt: skip
        self._end = position
        if len(self._versions) > _VERSIONS_REMEMBERED:
            self._versions.clear()
        self._versions[stream] = version

    def _receive(self, effect: Receive, unit: Unit) -> None:
        self.inbox.receive(effect, unit.time)
        if effect.messages or effect.completed:
            self._touched |= _INBOX

    def _publish(self, effect: Publish, unit: Unit) -> None:
        self._outbox_end += 1
        partition = partition_of(effect.key, self._partitions)
        self._outbox.append(
            (self._outbox_end, effect.topic, partition, effect.key, effect.id.bytes, effect.envelope, unit.time)
        )


def _check_size(effect: Publish | Deliver | ArmTimer, unit: Unit) -> None:
    check_size(effect)


def _check_answered_once(unit: Unit) -> None:
    answers: dict[str, Answer] = {}
    for effect in (effect for each in (unit, *unit.followers) for effect in each.effects):
        if type(effect) is Answer and (before := answers.setdefault(effect.scope, effect)) is not effect:
            raise AlreadyAnswered(effect.scope, StoredAnswer(before.fingerprint, before.response))


def _joined(parts: Sequence[Written]) -> Written:
    touched, armed = Touched(0), None
    for part in parts:
        touched |= part.touched
        armed = earliest(armed, part.armed)
    return Written([part.results[0] for part in parts], touched, armed)

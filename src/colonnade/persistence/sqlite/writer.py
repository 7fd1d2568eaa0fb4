"""The one writer of a SQLite store: checks and applies the units of a batch in one transaction."""

import zlib
from collections.abc import Sequence
from uuid import UUID

import apsw

from colonnade.persistence.coalescing import Applied, BatchFailed
from colonnade.persistence.sqlite.inbox import InboxWriter
from colonnade.persistence.store import (
    AlreadyAnswered,
    AlreadyHandled,
    Committed,
    LeaseLost,
    MarkMoved,
    MessageTooLarge,
    MissedRow,
    NotParked,
    StoreConflict,
    StoredAnswer,
    StoreFailed,
    Touched,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.unit import (
    Advance,
    Answer,
    Append,
    ArmTimer,
    Defer,
    Deliver,
    DisarmTimer,
    Discard,
    Handled,
    KeepAside,
    Park,
    Publish,
    Receive,
    Relayed,
    Retry,
    Settle,
    Snapshot,
    Unit,
    Unpark,
    Write,
    WriteMany,
)

__all__ = ["MESSAGE_LIMIT_BYTES", "SqliteWriter", "partition_of"]

MESSAGE_LIMIT_BYTES = 256 * 1024
"""The largest envelope that may leave a service: what every broker can carry."""

_VERSIONS_REMEMBERED = 20_000

# The fault of what was written, not of the database
_REFUSALS = (apsw.ConstraintError, apsw.MismatchError, apsw.SQLError, apsw.BindingsError, apsw.TooBigError)

_INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_OUTBOX = "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)"
_VERSION = "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?"


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: stable over processes and versions of Python."""
    return zlib.crc32(key.encode()) % partitions


class SqliteWriter:
    """Owns the writing connection, which one thread at a time may use.

    It is the only process that writes the file, so that the versions of streams and the ends of the log and the
    outbox can be remembered instead of read.
    """

    def __init__(self, connection: apsw.Connection, path: str, partitions: int) -> None:
        self._connection = connection
        self._run = connection.execute
        self._path = path
        self._partitions = partitions
        self._inbox = InboxWriter(connection)
        self._forget()

    def apply(self, batch: Sequence[Unit]) -> Applied:
        """Open a transaction with the units of `batch` that lose against nobody; raises `BatchFailed`."""
        try:
            self._run("BEGIN IMMEDIATE")
            self._events: list[tuple[object, ...]] = []
            self._outbox: list[tuple[object, ...]] = []
            self._touched = Touched(0)
            results: list[Committed | Exception] = []
            for unit in batch:
                try:
                    self._check(unit)
                except (StoreConflict, MessageTooLarge) as conflict:
                    results.append(conflict)
                else:
                    self._apply(unit)
                    results.append(Committed(self._end))
            if self._events:
                self._connection.executemany(_INSERT_EVENT, self._events)
                self._touched |= Touched.EVENTS
            if self._outbox:
                self._connection.executemany(_INSERT_OUTBOX, self._outbox)
                self._touched |= Touched.OUTBOX
        except (apsw.Error, MissedRow, TypeError, ValueError, OverflowError) as error:
            self._roll_back()
            raise BatchFailed(self._told(error)) from error
        return Applied(results, self._touched)

    def commit(self) -> None:
        """Make the open transaction durable."""
        try:
            self._run("COMMIT")
        except apsw.Error as error:
            self._roll_back()
            raise self._told(error) from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._run("ROLLBACK")
        self._forget()

    def _told(self, error: Exception) -> Exception:
        if not isinstance(error, apsw.Error):
            return error
        kind = WriteFailed if isinstance(error, _REFUSALS) else StoreFailed
        return kind(self._path, f"{type(error).__name__}: {error}")

    def _forget(self) -> None:
        self._end: int = self._run("SELECT coalesce(max(position), 0) FROM events").get
        self._outbox_end: int = self._run(
            "SELECT max(coalesce((SELECT max(seq) FROM outbox), 0), coalesce((SELECT max(seq) FROM relayed), 0))"
        ).get
        self._versions: dict[str, int] = {}
        self._inbox.forget()

    def _version_of(self, stream: str) -> int:
        version = self._versions.get(stream)
        if version is None:
            version = self._versions[stream] = self._run(_VERSION, (stream,)).get
        return version

    def _check(self, unit: Unit) -> None:
        fence = unit.fence
        if fence is not None:
            epoch = self._run("SELECT epoch FROM leases WHERE name = ?", (fence.lease,)).get
            if epoch != fence.epoch:
                raise LeaseLost(fence.lease, fence.epoch)
        for effect in unit.effects:
            match effect:
                case Append():
                    actual = self._version_of(effect.stream)
                    if actual != effect.expected:
                        raise VersionConflict(effect.stream, effect.expected, actual)
                case Publish() | Deliver():
                    if len(effect.envelope) > MESSAGE_LIMIT_BYTES:
                        raise MessageTooLarge(f"A message of {effect.key}", len(effect.envelope), MESSAGE_LIMIT_BYTES)
                case Handled() | Retry() | Park():
                    if not self._inbox.has(effect.row):
                        raise AlreadyHandled(effect.row)
                case Unpark() | Discard():
                    if not self._inbox.has_parked(effect.row):
                        raise NotParked(effect.row)
                case Answer():
                    row = self._run(
                        "SELECT fingerprint, response FROM answers WHERE scope = ? AND expires > ?",
                        (effect.scope, unit.time),
                    ).get
                    if row is not None:
                        raise AlreadyAnswered(effect.scope, StoredAnswer(*row))
                case Receive():
                    received = self._inbox.received(effect.chain)
                    if received != effect.expected:
                        raise MarkMoved(f"The chain {effect.chain}", effect.expected, received)
                case Advance():
                    position = self._run(
                        "SELECT position FROM checkpoints WHERE projection = ?", (effect.projection,)
                    ).get
                    if (position or 0) != effect.before:
                        raise MarkMoved(f"The projection {effect.projection}", effect.before, position or 0)
                case _:
                    pass

    def _apply(self, unit: Unit) -> None:
        run = self._run
        for effect in unit.effects:
            match effect:
                case Append():
                    self._append(effect, unit)
                case Publish():
                    self._publish(effect)
                case Deliver():
                    self._inbox.deliver(effect, unit.time)
                    self._touched |= Touched.INBOX
                case Handled():
                    self._inbox.handled(effect)
                case Write():
                    run(effect.sql, effect.parameters)
                    if effect.must_hit and not self._connection.changes():
                        raise MissedRow(effect.sql)
                case WriteMany():
                    before = self._connection.total_changes()
                    self._connection.executemany(effect.sql, effect.rows)
                    if effect.must_hit and self._connection.total_changes() - before < len(effect.rows):
                        raise MissedRow(effect.sql)
                case Advance():
                    run(
                        "INSERT INTO checkpoints VALUES (?, ?) "
                        "ON CONFLICT (projection) DO UPDATE SET position = excluded.position",
                        (effect.projection, effect.after),
                    )
                    self._touched |= Touched.CHECKPOINTS
                case Receive():
                    self._inbox.receive(effect, unit.time)
                    self._touched |= Touched.INBOX
                case Relayed():
                    run(
                        "INSERT INTO relayed VALUES (?, ?, ?) "
                        "ON CONFLICT (topic, partition) DO UPDATE SET seq = excluded.seq",
                        (effect.topic, effect.partition, effect.seq),
                    )
                case Retry():
                    self._inbox.retry(effect)
                    self._touched |= Touched.INBOX
                case Park():
                    self._inbox.park(effect, unit.time)
                case Unpark():
                    self._inbox.unpark(effect)
                    self._touched |= Touched.INBOX
                case Discard():
                    self._inbox.discard(effect)
                    self._touched |= Touched.INBOX
                case KeepAside():
                    run(
                        "INSERT INTO kept_aside (origin, reason, data, received_at) VALUES (?, ?, ?, ?)",
                        (effect.origin, effect.reason, effect.data, unit.time),
                    )
                case ArmTimer():
                    self._arm(effect)
                case DisarmTimer():
                    run("DELETE FROM timers WHERE name = ?", (effect.name,))
                case Answer():
                    run(
                        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                        (effect.scope, effect.fingerprint, effect.response, effect.expires),
                    )
                case Snapshot():
                    run(
                        "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
                        (effect.stream, effect.version, effect.schema, effect.data),
                    )
                case Defer():
                    run(
                        "INSERT OR REPLACE INTO deferrals VALUES (?, ?, ?)",
                        (effect.key, effect.reply_to, effect.reply_key),
                    )
                case Settle():
                    run("DELETE FROM deferrals WHERE key = ?", (effect.key,))

    def _append(self, effect: Append, unit: Unit) -> None:
        position, version, stream = self._end, effect.expected, effect.stream
        correlation = unit.correlation_id.bytes
        causation = unit.causation_id.bytes if unit.causation_id is not None else None
        for event in effect.events:
            position += 1
            version += 1
            self._events.append(
                (
                    position, stream, version, event.id.bytes, event.name, event.schema, event.data,
                    unit.time, correlation, causation, unit.principal,
                )
            )  # fmt: skip
        self._end = position
        if len(self._versions) > _VERSIONS_REMEMBERED:
            self._versions.clear()
        self._versions[stream] = version

    def _publish(self, effect: Publish) -> None:
        self._outbox_end += 1
        partition = partition_of(effect.key, self._partitions)
        self._outbox.append((self._outbox_end, effect.topic, partition, effect.key, effect.id.bytes, effect.envelope))

    def _arm(self, effect: ArmTimer) -> None:
        message = effect.message
        id: UUID | None = None
        if isinstance(message, Deliver):
            kind, target, lane = "deliver", message.consumer, message.lane
        else:
            kind, target, lane, id = "publish", message.topic, "", message.id
        self._run(
            "INSERT OR REPLACE INTO timers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (effect.name, effect.due, kind, target, message.key, lane, id and id.bytes, message.envelope),
        )
        self._touched |= Touched.TIMERS

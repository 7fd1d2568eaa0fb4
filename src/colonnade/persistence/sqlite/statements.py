"""The effects of a unit that are one statement each."""

from collections.abc import Callable, Mapping
from typing import Any

import apsw

from colonnade.persistence.failures import MissedRow
from colonnade.persistence.sqlite.inbox import KEEP_ASIDE
from colonnade.persistence.unit import (
    Advance,
    Answer,
    ArmTimer,
    Defer,
    Deliver,
    DisarmTimer,
    Forget,
    KeepAside,
    NoteLoss,
    Relayed,
    Settle,
    Snapshot,
    Unit,
    Write,
    WriteMany,
)

__all__ = ["WriteStatements"]

_ADVANCE = "INSERT INTO checkpoints VALUES (?, ?) ON CONFLICT (projection) DO UPDATE SET position = excluded.position"
_RELAYED = "INSERT INTO relayed VALUES (?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET seq = excluded.seq"
# One taken of an older version may be written late
_SNAPSHOT = (
    "INSERT INTO snapshots VALUES (?, ?, ?, ?) ON CONFLICT (stream) DO UPDATE SET version = excluded.version, "
    "schema = excluded.schema, data = excluded.data WHERE excluded.version >= snapshots.version"
)
_ANSWER = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)"
_DEFER = "INSERT OR REPLACE INTO deferrals VALUES (?, ?, ?)"
_NOTE_LOSS = (
    "INSERT INTO losses (source, history, topic, partition, after, up_to, reason, since) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, history, topic, partition, after) "
    "DO UPDATE SET up_to = excluded.up_to WHERE losses.passed_at IS NULL"
)
_SETTLE = "DELETE FROM deferrals WHERE key = ? AND reply_to = ? AND reply_key = ?"
_ARM = "INSERT OR REPLACE INTO timers VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DISARM = "DELETE FROM timers WHERE name = ?"


class WriteStatements:
    """Runs them on the writing connection, inside the transaction at hand."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        run = self._run = connection.execute
        self.appliers: Mapping[type[Any], Callable[[Any, Unit], Any]] = {
            Write: self._write,
            WriteMany: self._write_many,
            Advance: lambda effect, unit: run(_ADVANCE, (effect.projection, effect.after)),
            Relayed: lambda effect, unit: run(_RELAYED, (effect.topic, effect.partition, effect.seq)),
            Snapshot: lambda effect, unit: run(_SNAPSHOT, (effect.stream, effect.version, effect.schema, effect.data)),
            KeepAside: lambda effect, unit: run(KEEP_ASIDE, (effect.origin, effect.reason, effect.data, unit.time)),
            NoteLoss: self._note_loss,
            Answer: lambda effect, unit: run(
                _ANSWER, (effect.scope, effect.fingerprint, effect.response, effect.expires)
            ),
            Forget: lambda effect, unit: run("DELETE FROM answers WHERE scope = ?", (effect.scope,)),
            Defer: lambda effect, unit: run(_DEFER, (effect.key, effect.reply_to, effect.reply_key)),
            Settle: lambda effect, unit: run(_SETTLE, (effect.key, effect.reply_to, effect.reply_key)),
            DisarmTimer: lambda effect, unit: run(_DISARM, (effect.name,)),
        }

    def arm(self, effect: ArmTimer, unit: Unit) -> None:
        """Set a timer, in place of one of the same name."""
        message = effect.message
        kept: tuple[object, ...]
        if isinstance(message, Deliver):
            kept = ("deliver", message.consumer, message.key, message.lane, None, message.envelope)
        else:
            kept = ("publish", message.topic, message.key, "", message.id.bytes, message.envelope)
        self._run(_ARM, (effect.name, effect.due, *kept))

    def _note_loss(self, effect: NoteLoss, unit: Unit) -> None:
        chain = effect.chain
        marks = (chain.source, chain.history.bytes, chain.topic, chain.partition)
        self._run(_NOTE_LOSS, (*marks, effect.after, effect.up_to, effect.reason, effect.since))

    def _write(self, effect: Write, unit: Unit) -> None:
        self._run(effect.sql, effect.parameters)
        if effect.must_hit and not self._connection.changes():
            raise MissedRow(effect.sql)

    def _write_many(self, effect: WriteMany, unit: Unit) -> None:
        connection = self._connection
        before = connection.total_changes()
        connection.executemany(effect.sql, effect.rows)
        if effect.must_hit and connection.total_changes() - before < len(effect.rows):
            raise MissedRow(effect.sql)

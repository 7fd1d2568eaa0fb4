"""Pages of a SQLite store: each a short read on a connection that only reads."""

from collections.abc import Collection, Sequence
from uuid import UUID

import apsw

from colonnade.persistence.sqlite.inbox import OWN_CHAINS
from colonnade.persistence.store import (
    Chain,
    Deferral,
    DueMessage,
    DueTimer,
    KeptAside,
    Loaded,
    OutboxRow,
    ParkedMessage,
    StoredAnswer,
    StoredEvent,
    StoredMessage,
)
from colonnade.persistence.unit import ChainId, Deliver, Publish, Snapshot

__all__ = ["SqliteInbox", "SqliteLog", "SqliteOutbox", "SqliteTimers", "answer_of", "deferral_of"]

_LANES = {chain: lane for lane, chain in OWN_CHAINS.items()}

_EVENT = "position, stream, version, id, name, schema, data, time, correlation, causation, principal"

_PARKED = """
    SELECT inbox.row, inbox.consumer, inbox.chain, inbox.key, envelope, attempts, coalesce(cause, ''), received_at,
        parked_at, coalesce(held AND heads.row = inbox.row, 0),
        (SELECT count(*) FROM inbox AS later WHERE later.consumer = inbox.consumer AND later.key = inbox.key
            AND later.chain = inbox.chain AND later.seq > inbox.seq)
    FROM inbox LEFT JOIN heads USING (consumer, key, chain)
    WHERE parked_at IS NOT NULL AND
"""


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _event(row: tuple[object, ...]) -> StoredEvent:
    position, stream, version, id, name, schema, data, time, correlation, causation, principal = row
    return StoredEvent(
        position, stream, version, UUID(bytes=id), name, schema, data, time, UUID(bytes=correlation),  # type: ignore[arg-type]
        UUID(bytes=causation) if causation is not None else None, principal,  # type: ignore[arg-type]
    )  # fmt: skip


class SqliteLog:
    """The log. One writer commits in the order of positions, so there is no horizon to wait for."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._run = connection.execute

    async def load(self, streams: Sequence[str], *, snapshots: bool) -> Sequence[Loaded]:
        """What the aggregates of `streams` are rebuilt from, in their order."""
        kept: dict[str, Snapshot] = {}
        if snapshots:
            for stream, version, schema, data in self._run(
                f"SELECT stream, version, schema, data FROM snapshots WHERE stream IN ({_marks(streams)})", streams
            ):
                kept[stream] = Snapshot(stream, version, schema, data)
        events: dict[str, list[StoredMessage]] = {stream: [] for stream in streams}
        whole = [stream for stream in streams if stream not in kept]
        if whole:
            for stream, name, schema, data in self._run(
                "SELECT stream, name, schema, data FROM events "
                f"WHERE stream IN ({_marks(whole)}) ORDER BY stream, version",
                whole,
            ):
                events[stream].append(StoredMessage(name, schema, data))
        for stream, snapshot in kept.items():
            for name, schema, data in self._run(
                "SELECT name, schema, data FROM events WHERE stream = ? AND version > ? ORDER BY version",
                (stream, snapshot.version),
            ):
                events[stream].append(StoredMessage(name, schema, data))
        return [Loaded(kept.get(stream), events[stream]) for stream in streams]

    async def stream(self, stream: str, after: int = 0, limit: int = 256) -> list[StoredEvent]:
        """Up to `limit` events of `stream` whose version is above `after`, oldest first."""
        rows = self._run(
            f"SELECT {_EVENT} FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?",
            (stream, after, limit),
        )
        return [_event(row) for row in rows]

    async def read(self, after: int = 0, limit: int = 256, names: Collection[str] | None = None) -> list[StoredEvent]:
        """Up to `limit` events whose position is above `after`, of the given stored names or of all."""
        if names is None:
            rows = self._run(
                f"SELECT {_EVENT} FROM events WHERE position > ? ORDER BY position LIMIT ?",
                (after, limit),
            )
        else:
            # "+" keeps the planner off the index of names where many are asked for: they are most of the log then
            name = "name" if len(names) == 1 else "+name"
            marks = _marks(tuple(names))
            rows = self._run(
                f"SELECT {_EVENT} FROM events WHERE position > ? AND {name} IN ({marks}) ORDER BY position LIMIT ?",
                (after, *names, limit),
            )
        return [_event(row) for row in rows]

    async def streams(self, category: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of streams of `category` above `after`, in their order."""
        first = after if after.startswith(f"{category}/") else f"{category}/"
        rows = self._run(
            "SELECT stream FROM events WHERE version = 1 AND stream > ? AND stream < ? ORDER BY stream LIMIT ?",
            (first, f"{category}0", limit),  # "0" follows "/" in ASCII
        )
        return [stream for (stream,) in rows]

    async def end(self) -> int:
        """The position of the last event."""
        end: int = self._run("SELECT coalesce(max(position), 0) FROM events").get
        return end


class SqliteOutbox:
    """The messages on their way out."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._run = connection.execute

    async def pending(self, after: int, limit: int) -> list[OutboxRow]:
        """Up to `limit` messages whose seq is above `after`, in order."""
        rows = self._run("SELECT * FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [
            OutboxRow(seq, topic, partition, key, UUID(bytes=id), envelope)
            for seq, topic, partition, key, id, envelope in rows
        ]

    async def relayed(self) -> dict[tuple[str, int], int]:
        """How far each topic's partition has reached the broker."""
        return {(topic, partition): seq for topic, partition, seq in self._run("SELECT * FROM relayed")}


class SqliteInbox:
    """The messages that came in and are not done."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._run = connection.execute

    async def chains(self) -> list[Chain]:
        """All chains and their marks."""
        rows = self._run("SELECT source, history, topic, partition, received FROM chains")
        return [
            Chain(ChainId(source, UUID(bytes=history), topic, partition), received)
            for source, history, topic, partition, received in rows
        ]

    async def early(self, chain: ChainId) -> list[tuple[int, int]]:
        """(seq, prev) of the messages received before one that precedes them, in order."""
        rows = self._run(
            "SELECT DISTINCT seq, prev FROM inbox WHERE NOT ready AND chain = (SELECT id FROM chains "
            "WHERE source = ? AND history = ? AND topic = ? AND partition = ?) ORDER BY seq",
            (chain.source, chain.history.bytes, chain.topic, chain.partition),
        )
        return [(seq, prev) for seq, prev in rows]

    async def due(self, now: int, limit: int) -> list[DueMessage]:
        """Up to `limit` heads of live lines that may be handled at `now`."""
        rows = self._run(
            "SELECT row, consumer, chain, key, envelope, attempts, received_at FROM ("
            "SELECT row FROM heads WHERE NOT held AND not_before <= ? ORDER BY not_before, row LIMIT ?"
            ") JOIN inbox USING (row)",
            (now, limit),
        )
        return [
            DueMessage(row, consumer, _LANES.get(chain, ""), key, envelope, attempts, received_at)
            for row, consumer, chain, key, envelope, attempts, received_at in rows
        ]

    async def next_due_after(self, now: int) -> int | None:
        """The earliest moment after `now` at which a waiting head may be handled."""
        moment: int | None = self._run(
            "SELECT min(not_before) FROM heads WHERE NOT held AND not_before > ?", (now,)
        ).get
        return moment

    async def unhandled(self) -> int:
        """How many messages are not done, parked ones aside."""
        count: int = self._run(
            "SELECT (SELECT count(*) FROM inbox) - (SELECT count(*) FROM inbox WHERE parked_at IS NOT NULL)"
        ).get
        return count

    async def parked_count(self) -> int:
        """How many messages are parked."""
        count: int = self._run("SELECT count(*) FROM inbox WHERE parked_at IS NOT NULL").get
        return count

    async def parked(self, after: int = 0, limit: int = 100) -> list[ParkedMessage]:
        """Up to `limit` parked messages whose row is above `after`."""
        return self._parked(f"{_PARKED} inbox.row > ? ORDER BY inbox.row LIMIT ?", (after, limit))

    async def parked_message(self, row: int) -> ParkedMessage | None:
        """One parked message."""
        found = self._parked(f"{_PARKED} inbox.row = ?", (row,))
        return found[0] if found else None

    def _parked(self, sql: str, parameters: tuple[int, ...]) -> list[ParkedMessage]:
        return [
            ParkedMessage(
                row, consumer, _LANES.get(chain, ""), key, envelope, attempts, cause, received_at, parked_at,
                bool(held), behind,
            )
            for row, consumer, chain, key, envelope, attempts, cause, received_at, parked_at, held, behind in self._run(
                sql, parameters
            )
        ]  # fmt: skip

    async def kept_aside(self, after: int = 0, limit: int = 100) -> list[KeptAside]:
        """Up to `limit` of the malformed messages kept, whose row is above `after`."""
        rows = self._run("SELECT * FROM kept_aside WHERE row > ? ORDER BY row LIMIT ?", (after, limit))
        return [KeptAside(*row) for row in rows]

    async def waiting_before(self, consumer: str, key: str, moment: int) -> bool:
        """Whether an unparked message received before `moment` waits for this consumer and key."""
        row = self._run(
            "SELECT 1 FROM inbox WHERE consumer = ? AND key = ? AND received_at < ? AND parked_at IS NULL "
            "AND chain <> -1 LIMIT 1",
            (consumer, key, moment),
        ).get
        return row is not None


class SqliteTimers:
    """Messages that come due later."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._run = connection.execute

    async def due(self, now: int, limit: int) -> list[DueTimer]:
        """Up to `limit` timers that are due at `now`, earliest first."""
        rows = self._run(
            "SELECT name, due, kind, target, key, lane, id, envelope FROM timers WHERE due <= ? ORDER BY due LIMIT ?",
            (now, limit),
        )
        return [
            DueTimer(
                name,
                due,
                Deliver(target, key, envelope, lane)
                if kind == "deliver"
                else Publish(target, key, UUID(bytes=id), envelope),
            )
            for name, due, kind, target, key, lane, id, envelope in rows
        ]

    async def next_due(self) -> int | None:
        """The moment of the earliest timer."""
        moment: int | None = self._run("SELECT min(due) FROM timers").get
        return moment


def answer_of(connection: apsw.Connection, scope: str) -> StoredAnswer | None:
    """The answer kept for an idempotent request."""
    row = connection.execute("SELECT fingerprint, response FROM answers WHERE scope = ?", (scope,)).get
    return StoredAnswer(*row) if row is not None else None


def deferral_of(connection: apsw.Connection, key: str) -> Deferral | None:
    """Who waits under `key`."""
    row = connection.execute("SELECT key, reply_to, reply_key FROM deferrals WHERE key = ?", (key,)).get
    return Deferral(*row) if row is not None else None

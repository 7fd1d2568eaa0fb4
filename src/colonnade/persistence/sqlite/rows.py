"""Pages of a SQLite store: each a short read on a connection that only reads."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import apsw

from colonnade.persistence.failures import StoredAnswer
from colonnade.persistence.own_chains import LANES
from colonnade.persistence.sqlite.inbox import UNHANDLED, InboxWriter
from colonnade.persistence.sqlite.transactions import failed
from colonnade.persistence.store import (
    OLDEST_LOOKS_AT,
    Chain,
    Deferral,
    DueMessage,
    DueTimer,
    KeptAside,
    ParkedMessage,
)
from colonnade.persistence.unit import ChainId, Deliver, Publish
from colonnade.world import uuid_of

__all__ = ["Pages", "SqliteInbox", "SqliteTimers", "answers_of", "deferrals_of", "marks"]

_PARKED = """
    SELECT row, consumer, chain, key, envelope, attempts, coalesce(cause, ''), received_at,
        parked_at, holds,
        CASE WHEN holds THEN (SELECT count(*) FROM inbox AS later WHERE later.consumer = inbox.consumer
            AND later.key = inbox.key AND later.chain = inbox.chain AND later.seq > inbox.seq
            AND later.parked_at IS NULL) ELSE 0 END
    FROM inbox
    WHERE parked_at IS NOT NULL AND
"""


_DUE = (
    "SELECT row, not_before, sent_at FROM heads WHERE consumer = ? AND NOT held AND not_before <= ? "
    "ORDER BY not_before, sent_at, row LIMIT ?"
)
_NEWEST = (
    "SELECT row FROM heads WHERE consumer = ? AND NOT held AND not_before = 0 ORDER BY sent_at DESC, row DESC LIMIT ?"
)
_AGAIN = (
    "SELECT row FROM heads WHERE consumer = ? AND NOT held AND not_before BETWEEN 1 AND ? "
    "ORDER BY not_before, sent_at, row LIMIT ?"
)
_FIRST = "SELECT row, sent_at FROM heads WHERE consumer = ? AND NOT held AND not_before = 0 ORDER BY sent_at LIMIT 1"
_AGAIN_LAST = (
    "SELECT row, sent_at FROM heads WHERE consumer = ? AND NOT held AND not_before > 0 "
    f"ORDER BY not_before DESC LIMIT {OLDEST_LOOKS_AT}"
)
_NEXT_DUE = "SELECT min(not_before) FROM heads WHERE consumer = ? AND NOT held AND not_before > ?"
_MESSAGES = "SELECT row, consumer, chain, key, envelope, attempts, received_at, sent_at FROM inbox WHERE row IN "

# From one consumer to the next through the index
_CONSUMERS = """
    WITH RECURSIVE found (consumer) AS (
        SELECT min(consumer) FROM heads
        UNION ALL
        SELECT (SELECT min(consumer) FROM heads WHERE consumer > found.consumer) FROM found WHERE consumer IS NOT NULL
    )
    SELECT consumer FROM found WHERE consumer IS NOT NULL
"""

_HELD = """
    SELECT coalesce(sum((
        SELECT count(*) FROM inbox WHERE consumer = heads.consumer AND key = heads.key AND chain = heads.chain
        AND seq > heads.seq AND parked_at IS NULL
    )), 0) FROM heads WHERE held
"""


def marks(values: Sequence[object]) -> str:
    """As many marks as there are values."""
    return ", ".join("?" * len(values))


class Pages:
    """Runs short reads on one connection: each statement sees one consistent state, and leaves nothing open."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._execute = connection.execute
        self._path = path

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows; raises `StoreFailed`, `StoreClosed`."""
        try:
            return self._execute(sql, parameters).fetchall()
        except apsw.Error as error:
            raise failed(self._path, error) from error

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or None; raises `StoreFailed`, `StoreClosed`."""
        rows = self.all(sql, parameters)
        return rows[0] if rows else None

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first row's first value, or None; raises `StoreFailed`, `StoreClosed`."""
        row = self.one(sql, parameters)
        return row[0] if row is not None else None


def _due(message: tuple[Any, ...]) -> DueMessage:
    row, consumer, chain, key, envelope, attempts, received_at, sent_at = message
    return DueMessage(row, consumer, LANES.get(chain, ""), key, envelope, attempts, received_at, sent_at)


_TIMER_NAMES = "SELECT name FROM timers WHERE name > ? AND name <= ? ORDER BY name LIMIT ?"
_LAST_SIGN = "\U0010ffff"


class SqliteInbox:
    """The messages that came in and are not done."""

    def __init__(self, pages: Pages, writer: InboxWriter | None) -> None:
        self._pages = pages
        self._writer = writer

    async def chains(self) -> list[Chain]:
        """All chains and their marks."""
        rows = self._pages.all("SELECT source, history, topic, partition, received FROM chains")
        return [
            Chain(ChainId(source, uuid_of(history), topic, partition), received)
            for source, history, topic, partition, received in rows
        ]

    async def early(self, chain: ChainId) -> list[tuple[int, int]]:
        """(seq, prev) of the messages received before one that precedes them, in order."""
        rows = self._pages.all(
            "SELECT DISTINCT seq, prev FROM inbox WHERE NOT ready AND chain = (SELECT id FROM chains "
            "WHERE source = ? AND history = ? AND topic = ? AND partition = ?) ORDER BY seq",
            (chain.source, chain.history.bytes, chain.topic, chain.partition),
        )
        return [(seq, prev) for seq, prev in rows]

    async def due(
        self,
        now: int,
        limit: int,
        *,
        consumer: str | None = None,
        without: Collection[int] = (),
        which: Literal["longest", "newest", "again"] = "longest",
        slots: Collection[int] | None = None,
    ) -> list[DueMessage]:
        """Up to `limit` heads of live lines that may be handled at `now`."""
        wanted = limit + len(without)
        if consumer is None:
            heads = [head for each in self._consumers() for head in self._heads(_DUE, slots, each, now, wanted)]
            heads.sort(key=lambda head: (*head[1:], head[0]))
        elif which == "newest":
            heads = self._heads(_NEWEST, slots, consumer, wanted)
        elif which == "again":
            heads = self._heads(_AGAIN, slots, consumer, now, wanted)
        else:
            heads = self._heads(_DUE, slots, consumer, now, wanted)
        rows = [row for row, *_ in heads if row not in without][:limit]
        if not rows:
            return []
        found = {message[0]: message for message in self._pages.all(f"{_MESSAGES}({marks(rows)})", rows)}
        # One that was committed as done between the two reads is not there any more
        return [_due(found[row]) for row in rows if row in found]

    async def oldest(self) -> DueMessage | None:
        """The message that was sent first of those that are first in line."""
        heads = [
            (sent_at, row)
            for consumer in self._consumers()
            for sql in (_FIRST, _AGAIN_LAST)
            for row, sent_at in self._pages.all(sql, (consumer,))
        ]
        found = self._pages.one(f"{_MESSAGES}(?)", (min(heads)[1],)) if heads else None
        return _due(found) if found is not None else None

    def _heads(self, sql: str, slots: Collection[int] | None, *values: object) -> list[tuple[Any, ...]]:
        if slots is None:
            return self._pages.all(sql, values)
        own = ", ".join(str(int(slot)) for slot in slots)
        return self._pages.all(sql.replace(" ORDER BY ", f" AND slot_of(key) IN ({own}) ORDER BY "), values)

    def _consumers(self) -> list[str]:
        return [consumer for (consumer,) in self._pages.all(_CONSUMERS)]

    async def consumers(self) -> list[str]:
        """The consumers for whom messages wait."""
        return self._consumers()

    async def held(self) -> int:
        """How many messages wait behind parked ones that hold their keys."""
        count: int = self._pages.value(_HELD)
        return count

    async def next_due_after(self, now: int) -> int | None:
        """The earliest moment after `now` at which a waiting head may be handled."""
        moments = [self._pages.value(_NEXT_DUE, (consumer, now)) for consumer in self._consumers()]
        return min((moment for moment in moments if moment is not None), default=None)

    async def unhandled(self) -> int:
        """How many messages are not done, parked ones aside."""
        if self._writer is not None:
            return self._writer.unhandled
        count: int = self._pages.value(UNHANDLED)
        return count

    async def parked_count(self) -> int:
        """How many messages are parked."""
        count: int = self._pages.value("SELECT count(*) FROM inbox WHERE parked_at IS NOT NULL")
        return count

    async def parked(self, after: int = 0, limit: int = 100) -> list[ParkedMessage]:
        """Up to `limit` parked messages whose row is above `after`."""
        return self._parked(f"{_PARKED} row > ? ORDER BY row LIMIT ?", (after, limit))

    async def parked_message(self, row: int) -> ParkedMessage | None:
        """One parked message."""
        found = self._parked(f"{_PARKED} row = ?", (row,))
        return found[0] if found else None

    def _parked(self, sql: str, parameters: tuple[int, ...]) -> list[ParkedMessage]:
        rows = self._pages.all(sql, parameters)
        return [
            ParkedMessage(
                row, consumer, LANES.get(chain, ""), key, envelope, attempts, cause, received_at, parked_at,
                bool(held), behind,
            )
            for row, consumer, chain, key, envelope, attempts, cause, received_at, parked_at, held, behind in rows
        ]  # fmt: skip

    async def kept_aside(self, after: int = 0, limit: int = 100) -> list[KeptAside]:
        """Up to `limit` of what was kept aside, whose row is above `after`."""
        rows = self._pages.all("SELECT * FROM kept_aside WHERE row > ? ORDER BY row LIMIT ?", (after, limit))
        return [KeptAside(*row) for row in rows]

    async def waiting_before(self, consumer: str, key: str, moment: int) -> bool:
        """Whether an unparked message received before `moment` waits for this consumer and key."""
        row = self._pages.one(
            "SELECT 1 FROM inbox WHERE consumer = ? AND key = ? AND received_at < ? AND parked_at IS NULL "
            "AND chain >= 0 LIMIT 1",
            (consumer, key, moment),
        )
        return row is not None


class SqliteTimers:
    """Messages that come due later."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._listeners: list[Callable[[int | None], None]] = []

    def watch(self, listener: Callable[[int | None], None]) -> None:
        """Call `listener` after every batch of commits that armed timers; nobody else arms any."""
        self._listeners.append(listener)

    def armed(self, earliest: int) -> None:
        """Timers have been armed, of which this is the `earliest` moment."""
        for listener in self._listeners:
            listener(earliest)

    async def due(self, now: int, limit: int) -> list[DueTimer]:
        """Up to `limit` timers that are due at `now`, earliest first."""
        rows = self._pages.all(
            "SELECT name, due, kind, target, key, lane, id, envelope FROM timers WHERE due <= ? ORDER BY due LIMIT ?",
            (now, limit),
        )
        return [
            DueTimer(
                name,
                due,
                Deliver(target, key, envelope, lane)
                if kind == "deliver"
                else Publish(target, key, uuid_of(id), envelope),
            )
            for name, due, kind, target, key, lane, id, envelope in rows
        ]

    async def next_due(self) -> int | None:
        """The moment of the earliest timer."""
        moment: int | None = self._pages.value("SELECT min(due) FROM timers")
        return moment

    async def names(self, prefix: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of armed timers that begin with `prefix`, above the name `after`, in their order."""
        rows = self._pages.all(_TIMER_NAMES, (max(after, prefix), prefix + _LAST_SIGN, limit))
        return [name for (name,) in rows]


def answers_of(pages: Pages, scopes: Sequence[str]) -> dict[str, StoredAnswer]:
    """The answers kept for idempotent requests, by scope."""
    rows = pages.all(f"SELECT scope, fingerprint, response FROM answers WHERE scope IN ({marks(scopes)})", scopes)
    return {scope: StoredAnswer(fingerprint, response) for scope, fingerprint, response in rows}


def deferrals_of(pages: Pages, key: str) -> list[Deferral]:
    """All who wait under `key`, in the order of `reply_to` and `reply_key`."""
    return [
        Deferral(*row)
        for row in pages.all("SELECT * FROM deferrals WHERE key = ? ORDER BY reply_to, reply_key", (key,))
    ]

"""What lies in a store, a page at a time, each one statement and so one consistent state."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from colonnade.persistence.failures import StoredAnswer
from colonnade.persistence.own_chains import LANES
from colonnade.persistence.postgres.connections import Connections
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.postgres.holding import Hold
from colonnade.persistence.postgres.tail import Tail
from colonnade.persistence.postgres.together import Together
from colonnade.persistence.store import (
    OLDEST_LOOKS_AT,
    Chain,
    ChainPage,
    Deferral,
    DueMessage,
    DueTimer,
    KeptAside,
    LeftMessage,
    OutboxRow,
    OutboxWeight,
    ParkedMessage,
)
from colonnade.persistence.unit import ChainId, Deliver, Publish

__all__ = ["Pages", "PostgresAnswers", "PostgresInbox", "PostgresOutbox", "PostgresTimers", "deferrals_of"]

_LAST_SIGN = "\U0010ffff"


class Pages:
    """Runs short reads of the store's own tables."""

    def __init__(self, connections: Connections, schema: str) -> None:
        self._connections = connections
        self._schema = f'"{schema}"'

    def on(self, sql: str) -> str:
        """`sql` on the tables of this store's schema, which stands for each `{s}`."""
        return sql.replace("{s}", self._schema)

    async def all(self, sql: str, *values: Any) -> Sequence[Any]:
        """All rows; raises `StoreFailed`, `StoreClosed`."""
        for again in (True, False):
            async with self._connections.reader() as connection:
                try:
                    return await connection.fetch(sql, *values)
                except DRIVER_ERRORS as error:
                    if not (again and connection.is_closed()):
                        raise write_failure(self._connections.name, error) from error
        raise AssertionError("the second try returns or raises")

    async def value(self, sql: str, *values: Any) -> Any:
        """The first row's first value, or None; raises `StoreFailed`, `StoreClosed`."""
        rows = await self.all(sql, *values)
        return rows[0][0] if rows else None


_ENDS = """
    SELECT r.topic, r.partition, r.seq, EXISTS (SELECT FROM {s}.outbox o WHERE o.seq = r.seq)
    FROM {s}.relayed r WHERE r.topic = ANY ($1)
"""

_MESSAGE = "i.id, i.consumer, i.chain, i.key, i.envelope, i.attempts, i.received_at, i.sent_at"
_TURNS = "h.id, h.not_before, h.sent_at"
_TURN = {
    "longest": ("h.not_before <= $2", "h.not_before, h.sent_at, h.id"),
    "newest": ("h.not_before = 0 AND h.not_before <= $2", "h.sent_at DESC, h.id DESC"),
    "again": ("h.not_before BETWEEN 1 AND $2", "h.not_before, h.sent_at, h.id"),
}
_DUE = {
    which: (
        f"SELECT {_MESSAGE} FROM (SELECT {_TURNS} FROM {{s}}.heads h WHERE h.consumer = $1 AND NOT h.held "
        f"AND {when} AND h.id <> ALL ($3) ORDER BY {order} LIMIT $4) h JOIN {{s}}.inbox i ON i.id = h.id "
        f"ORDER BY {order}"
    )
    for which, (when, order) in _TURN.items()
}
# A short walk through the index for each slot, however many lines of others are due
_DUE_IN_SLOTS = {
    which: (
        f"SELECT {_MESSAGE} FROM (SELECT due.* FROM unnest($5::smallint[]) AS own (slot) CROSS JOIN "
        f"LATERAL (SELECT {_TURNS} FROM {{s}}.heads h WHERE h.consumer = $1 AND h.slot = own.slot AND "
        f"NOT h.held AND {when} AND h.id <> ALL ($3) ORDER BY {order} LIMIT $4) due "
        f"ORDER BY {order.replace('h.', 'due.')} LIMIT $4) h JOIN {{s}}.inbox i ON i.id = h.id ORDER BY {order}"
    )
    for which, (when, order) in _TURN.items()
}
# From one consumer to the next through the index
_CONSUMERS = """
    WITH RECURSIVE found (consumer) AS (
        (SELECT h.consumer FROM {s}.heads h ORDER BY h.consumer LIMIT 1)
        UNION ALL
        SELECT (SELECT h.consumer FROM {s}.heads h WHERE h.consumer > found.consumer ORDER BY h.consumer LIMIT 1)
        FROM found WHERE found.consumer IS NOT NULL
    )
    SELECT consumer FROM found WHERE consumer IS NOT NULL
"""
# A page of each consumer's, merged: the index knows no order over all
_DUE_TO_ANY = f"""
    SELECT {_MESSAGE} FROM (
        SELECT first.* FROM ({_CONSUMERS}) each CROSS JOIN LATERAL (
            SELECT {_TURNS} FROM {{s}}.heads h WHERE h.consumer = each.consumer AND NOT h.held
            AND h.not_before <= $1 AND h.id <> ALL ($2) AND ($4::smallint[] IS NULL OR h.slot = ANY ($4))
            ORDER BY h.not_before, h.sent_at, h.id LIMIT $3
        ) first ORDER BY first.not_before, first.sent_at, first.id LIMIT $3
    ) h JOIN {{s}}.inbox i ON i.id = h.id ORDER BY h.not_before, h.sent_at, h.id
"""
_OLDEST = f"""
    SELECT {_MESSAGE} FROM ({_CONSUMERS}) each CROSS JOIN LATERAL (
        (
            SELECT {_TURNS} FROM {{s}}.heads h WHERE h.consumer = each.consumer AND NOT h.held AND h.not_before = 0
            ORDER BY h.sent_at LIMIT 1
        )
        UNION ALL
        (
            SELECT again.* FROM (
                SELECT {_TURNS} FROM {{s}}.heads h WHERE h.consumer = each.consumer AND NOT h.held AND h.not_before > 0
                ORDER BY h.not_before DESC LIMIT {OLDEST_LOOKS_AT}
            ) again ORDER BY again.sent_at LIMIT 1
        )
    ) first JOIN {{s}}.inbox i ON i.id = first.id ORDER BY first.sent_at, first.id LIMIT 1
"""
_NEXT_DUE = f"""
    SELECT min(next.not_before) FROM ({_CONSUMERS}) each CROSS JOIN LATERAL (
        SELECT h.not_before FROM {{s}}.heads h WHERE h.consumer = each.consumer AND NOT h.held AND h.not_before > $1
        ORDER BY h.not_before LIMIT 1
    ) next
"""
_HELD = """
    SELECT coalesce(sum(behind.messages), 0)::bigint FROM {s}.heads h CROSS JOIN LATERAL (
        SELECT count(*) AS messages FROM {s}.inbox i WHERE i.consumer = h.consumer AND i.key = h.key
        AND i.chain = h.chain AND i.seq > h.seq AND i.parked_at IS NULL
    ) behind WHERE h.held
"""
_PARKED = """
    SELECT i.id, i.consumer, i.chain, i.key, i.envelope, i.attempts, coalesce(i.cause, ''), i.received_at, i.parked_at,
        i.holds, CASE WHEN i.holds THEN (
            SELECT count(*) FROM {s}.inbox later WHERE later.consumer = i.consumer AND later.key = i.key
            AND later.chain = i.chain AND later.seq > i.seq AND later.parked_at IS NULL
        ) ELSE 0 END
    FROM {s}.inbox i WHERE i.parked_at IS NOT NULL AND
"""
_EARLY = """
    SELECT DISTINCT i.seq, i.prev FROM {s}.inbox i JOIN {s}.chains c ON c.id = i.chain
    WHERE NOT i.ready AND c.source = $1 AND c.history = $2 AND c.topic = $3 AND c.partition = $4 ORDER BY i.seq
"""
_WAITING_BEFORE = """
    SELECT EXISTS (
        SELECT FROM {s}.inbox i WHERE i.consumer = $1 AND i.key = $2 AND i.received_at < $3 AND i.parked_at IS NULL
        AND i.chain >= 0
    )
"""

# In order and from the first, so that what is kept of a chain has no holes: marks move between two looks. The mark is
# looked up row by row: a join would read all that is kept.
_LEFT = """
    SELECT o.seq, o.time, octet_length(o.envelope) FROM {s}.outbox o
    WHERE o.seq <= (SELECT r.seq FROM {s}.relayed r WHERE r.topic = o.topic AND r.partition = o.partition)
    ORDER BY o.seq LIMIT $1
"""


def _due(message: Any) -> DueMessage:
    row, consumer, chain, key, envelope, attempts, received_at, sent_at = message
    return DueMessage(row, consumer, LANES.get(chain, ""), key, envelope, attempts, received_at, sent_at)


class PostgresInbox:
    """The messages that came in and are not done."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        on = pages.on
        self._due = {which: on(sql) for which, sql in _DUE.items()}
        self._due_in_slots = {which: pages.on(sql) for which, sql in _DUE_IN_SLOTS.items()}
        self._chains = on("SELECT source, history, topic, partition, received FROM {s}.chains")
        self._unhandled = on("SELECT count(*) FROM {s}.inbox WHERE parked_at IS NULL")

    async def chains(self) -> list[Chain]:
        """All chains and their marks."""
        return [Chain(ChainId(*chain), received) for *chain, received in await self._pages.all(self._chains)]

    async def early(self, chain: ChainId) -> list[tuple[int, int]]:
        """(seq, prev) of the messages received before one that precedes them, in order."""
        sql = self._pages.on(_EARLY)
        rows = await self._pages.all(sql, chain.source, chain.history, chain.topic, chain.partition)
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
        own = None if slots is None else list(slots)
        if consumer is None:
            rows = await self._pages.all(self._pages.on(_DUE_TO_ANY), now, list(without), limit, own)
        elif own is not None:
            rows = await self._pages.all(self._due_in_slots[which], consumer, now, list(without), limit, own)
        else:
            rows = await self._pages.all(self._due[which], consumer, now, list(without), limit)
        return [_due(message) for message in rows]

    async def oldest(self) -> DueMessage | None:
        """The message that was sent first of those that are first in line."""
        rows = await self._pages.all(self._pages.on(_OLDEST))
        return _due(rows[0]) if rows else None

    async def consumers(self) -> list[str]:
        """The consumers for whom messages wait."""
        return [consumer for (consumer,) in await self._pages.all(self._pages.on(_CONSUMERS))]

    async def next_due_after(self, now: int) -> int | None:
        """The earliest moment after `now` at which a waiting head may be handled."""
        moment: int | None = await self._pages.value(self._pages.on(_NEXT_DUE), now)
        return moment

    async def unhandled(self) -> int:
        """How many messages are not done, parked ones aside."""
        count: int = await self._pages.value(self._unhandled)
        return count

    async def held(self) -> int:
        """How many messages wait behind parked ones that hold their keys."""
        count: int = await self._pages.value(self._pages.on(_HELD))
        return count

    async def parked_count(self) -> int:
        """How many messages are parked."""
        count: int = await self._pages.value(
            self._pages.on("SELECT count(*) FROM {s}.inbox WHERE parked_at IS NOT NULL")
        )
        return count

    async def parked(self, after: int = 0, limit: int = 100) -> list[ParkedMessage]:
        """Up to `limit` parked messages whose row is above `after`."""
        return await self._parked("i.id > $1 ORDER BY i.id LIMIT $2", after, limit)

    async def parked_message(self, row: int) -> ParkedMessage | None:
        """One parked message."""
        found = await self._parked("i.id = $1", row)
        return found[0] if found else None

    async def _parked(self, condition: str, *values: int) -> list[ParkedMessage]:
        rows = await self._pages.all(self._pages.on(_PARKED + condition), *values)
        return [
            ParkedMessage(
                row, consumer, LANES.get(chain, ""), key, envelope, attempts, cause, received_at, parked_at, held,
                behind,
            )
            for row, consumer, chain, key, envelope, attempts, cause, received_at, parked_at, held, behind in rows
        ]  # fmt: skip

    async def kept_aside(self, after: int = 0, limit: int = 100) -> list[KeptAside]:
        """Up to `limit` of what was kept aside, whose row is above `after`."""
        sql = "SELECT id, origin, reason, data, received_at FROM {s}.kept_aside WHERE id > $1 ORDER BY id LIMIT $2"
        return [KeptAside(*row) for row in await self._pages.all(self._pages.on(sql), after, limit)]

    async def waiting_before(self, consumer: str, key: str, moment: int) -> bool:
        """Whether an unparked message received before `moment` waits for this consumer and key."""
        waiting: bool = await self._pages.value(self._pages.on(_WAITING_BEFORE), consumer, key, moment)
        return waiting


class PostgresOutbox:
    """The messages on their way out."""

    def __init__(self, pages: Pages, tail: Tail, hold: Hold) -> None:
        self._pages = pages
        self._tail = tail
        self._hold = hold
        row = "seq, topic, partition, key, id, envelope"
        self._pending = pages.on("SELECT * FROM {s}.pending_messages($1, $2, $3)")
        self._decided = 0
        """Up to here everything is decided for good, though the horizon goes back."""
        self._of_chain = pages.on(f"SELECT {row} FROM {{s}}.messages_of_chain($1, $2, $3, $4)")

    async def pending(self, after: int, limit: int) -> list[OutboxRow]:
        """Up to `limit` messages whose seq is above `after`, in order, under the horizon, or what is known of them."""
        if known := self._tail.after(after, limit):
            self._decided = max(self._decided, known[-1].seq)
            return known
        look, decided = self._tail.begin_look(), self._hold.begin_look()
        rows = await self._pages.all(self._pending, after, limit, self._decided)
        (reached, drawn, last, *_) = rows[-1]
        self._decided = max(self._decided, reached)
        self._hold.end_look(decided, held=reached < drawn)
        if last is None:
            rows = []
        elif len(rows) == limit:
            reached = last
        self._tail.end_look(look, reached, drawn)
        return [OutboxRow(*row) for _, _, *row in rows]

    async def relayed(self) -> dict[tuple[str, int], int]:
        """How far each topic's partition has reached the broker."""
        rows = await self._pages.all(self._pages.on("SELECT topic, partition, seq FROM {s}.relayed"))
        return {(topic, partition): seq for topic, partition, seq in rows}

    async def ends(self, topics: Collection[str]) -> list[tuple[str, int, int, bool]]:
        """Of `topics`, how far each partition has reached the broker, and whether that message is still here."""
        return [
            (topic, partition, seq, kept)
            for topic, partition, seq, kept in await self._pages.all(self._pages.on(_ENDS), list(topics))
        ]

    async def all_left_up_to(self) -> int:
        """A seq up to which every message has reached the broker."""
        seq: int = await self._pages.value(self._pages.on("SELECT {s}.all_left_up_to()"))
        return seq

    async def of_chain(self, topic: str, partition: int, after: int, limit: int) -> ChainPage:
        """Up to `limit` messages of one chain whose seq is above `after`, and how far the chain has been pruned."""
        rows = await self._pages.all(self._of_chain, topic, partition, after, limit)
        # After the rows: what is not pruned by now was there when they were read
        sql = self._pages.on("SELECT seq FROM {s}.pruned WHERE topic = $1 AND partition = $2")
        pruned: int | None = await self._pages.value(sql, topic, partition)
        return ChainPage([OutboxRow(*row) for row in rows], pruned or 0)

    async def left(self, limit: int) -> list[LeftMessage]:
        """The first `limit` messages that have reached the broker and are kept."""
        return [LeftMessage(*row) for row in await self._pages.all(self._pages.on(_LEFT), limit)]

    async def weigh(self, after: int, limit: int) -> OutboxWeight:
        """How much the up to `limit` messages above `after` are."""
        (row,) = await self._pages.all(
            self._pages.on("SELECT last, messages, bytes FROM {s}.weigh_messages($1, $2)"), after, limit
        )
        return OutboxWeight(*row)


class PostgresTimers:
    """Messages that come due later."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._listeners: list[Callable[[int | None], None]] = []

    def watch(self, listener: Callable[[int | None], None]) -> None:
        """Call `listener` after every batch of commits that armed timers."""
        self._listeners.append(listener)

    def armed(self, earliest: int | None) -> None:
        """Timers have been armed, of which this is the `earliest` moment; None: others may have armed some."""
        for listener in self._listeners:
            listener(earliest)

    async def due(self, now: int, limit: int) -> list[DueTimer]:
        """Up to `limit` timers that are due at `now`, earliest first."""
        sql = self._pages.on(
            "SELECT name, due, kind, target, key, lane, id, envelope FROM {s}.timers "
            "WHERE due <= $1 ORDER BY due LIMIT $2"
        )
        timers = []
        for name, moment, kind, target, key, lane, id, envelope in await self._pages.all(sql, now, limit):
            message: Deliver | Publish = (
                Deliver(target, key, envelope, lane) if kind == "deliver" else Publish(target, key, id, envelope)
            )
            timers.append(DueTimer(name, moment, message))
        return timers

    async def next_due(self) -> int | None:
        """The moment of the earliest timer; None when none is armed."""
        moment: int | None = await self._pages.value(self._pages.on("SELECT min(due) FROM {s}.timers"))
        return moment

    async def names(self, prefix: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of armed timers that begin with `prefix`, above the name `after`, in their order."""
        sql = self._pages.on("SELECT name FROM {s}.timers WHERE name > $1 AND name <= $2 ORDER BY name LIMIT $3")
        return [name for (name,) in await self._pages.all(sql, max(after, prefix), prefix + _LAST_SIGN, limit)]


class PostgresAnswers:
    """The answers kept for idempotent requests."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._kept = pages.on("SELECT scope, fingerprint, response FROM {s}.answers WHERE scope = ANY ($1)")
        self._reads = Together(self._of_each)

    async def of(self, scopes: Sequence[str]) -> Mapping[str, StoredAnswer]:
        """Those kept for `scopes`."""
        return await self._reads.ask(scopes)

    async def _of_each(self, asked: Sequence[Sequence[str]]) -> Sequence[Mapping[str, StoredAnswer]]:
        rows = await self._pages.all(self._kept, [scope for scopes in asked for scope in scopes])
        kept = {scope: StoredAnswer(fingerprint, response) for scope, fingerprint, response in rows}
        return [{scope: kept[scope] for scope in scopes if scope in kept} for scopes in asked]


async def deferrals_of(pages: Pages, key: str) -> list[Deferral]:
    """All who wait under `key`, in the order of `reply_to` and `reply_key`."""
    sql = pages.on("SELECT key, reply_to, reply_key FROM {s}.deferrals WHERE key = $1 ORDER BY reply_to, reply_key")
    return [Deferral(*row) for row in await pages.all(sql, key)]

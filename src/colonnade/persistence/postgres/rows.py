"""What lies in a store, a page at a time, each one statement and so one consistent state."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from colonnade.persistence.failures import StoredAnswer
from colonnade.persistence.own_chains import LANES
from colonnade.persistence.postgres.connections import Connections
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.postgres.together import Together
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

__all__ = ["Pages", "PostgresAnswers", "PostgresInbox", "PostgresTimers", "deferrals_of"]

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

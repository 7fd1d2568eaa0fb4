"""The outbox of a SQLite store: what is on its way out, and what is kept though it has left."""

from collections.abc import Collection
from typing import Any

import apsw

from colonnade.persistence.sqlite.queries import SqliteQueries
from colonnade.persistence.sqlite.rows import Pages
from colonnade.persistence.store import ChainPage, LeftMessage, OutboxRow, OutboxWeight
from colonnade.world import uuid_of

__all__ = ["SqliteOutbox"]

_ROW = "seq, topic, partition, key, id, envelope"
_PENDING = f"SELECT {_ROW} FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
_RELAYED = "SELECT topic, partition, seq FROM relayed"
_ENDS = "SELECT topic, partition, seq, EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = relayed.seq) FROM relayed"
_OF_CHAIN = f"SELECT {_ROW} FROM outbox WHERE topic = ? AND partition = ? AND seq > ? ORDER BY seq LIMIT ?"
_PRUNED = "SELECT seq FROM pruned WHERE topic = ? AND partition = ?"
_ALL_LEFT_UP_TO = """
    SELECT coalesce((
        SELECT o.seq FROM outbox o LEFT JOIN relayed r ON r.topic = o.topic AND r.partition = o.partition
        WHERE o.seq > coalesce(r.seq, 0) ORDER BY o.seq LIMIT 1
    ) - 1, (SELECT max(seq) FROM outbox), 0)
"""
# In order and from the first, so that what is kept of a chain has no holes: marks move between two looks
_LEFT = """
    SELECT o.seq, o.time, length(o.envelope) FROM outbox o
    CROSS JOIN relayed r ON r.topic = o.topic AND r.partition = o.partition
    WHERE o.seq <= r.seq ORDER BY o.seq LIMIT ?
"""
_WEIGH = """
    SELECT coalesce(max(seq), ?1), count(*), coalesce(sum(bytes), 0)
    FROM (SELECT seq, length(envelope) AS bytes FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2)
"""


class SqliteOutbox:
    """The relay reads short pages on the loop. What passes over all that is kept runs in a thread: an index for it
    would be paid by each message."""

    def __init__(self, pages: Pages, queries: SqliteQueries) -> None:
        self._pages = pages
        self._queries = queries

    async def pending(self, after: int, limit: int) -> list[OutboxRow]:
        """Up to `limit` messages whose seq is above `after`, in order."""
        return [_row(row) for row in self._pages.all(_PENDING, (after, limit))]

    async def relayed(self) -> dict[tuple[str, int], int]:
        """How far each topic's partition has reached the broker."""
        return {(topic, partition): seq for topic, partition, seq in self._pages.all(_RELAYED)}

    async def ends(self, topics: Collection[str]) -> list[tuple[str, int, int, bool]]:
        """Of `topics`, how far each partition has reached the broker, and whether that message is still here."""
        marks = ", ".join("?" * len(topics))
        rows = self._pages.all(f"{_ENDS} WHERE topic IN ({marks})", (*topics,))
        return [(topic, partition, seq, bool(kept)) for topic, partition, seq, kept in rows]

    async def all_left_up_to(self) -> int:
        """A seq up to which every message has reached the broker."""
        seq: int = await self._queries.run(lambda reader: reader.execute(_ALL_LEFT_UP_TO).get)
        return seq

    async def of_chain(self, topic: str, partition: int, after: int, limit: int) -> ChainPage:
        """Up to `limit` messages of one chain whose seq is above `after`, and how far the chain has been pruned."""

        def read(reader: apsw.Connection) -> ChainPage:
            rows = reader.execute(_OF_CHAIN, (topic, partition, after, limit)).fetchall()
            return ChainPage([_row(row) for row in rows], reader.execute(_PRUNED, (topic, partition)).get or 0)

        return await self._queries.run(read)

    async def left(self, limit: int) -> list[LeftMessage]:
        """The first `limit` messages that have reached the broker and are kept; it reads all that stay before them."""
        rows = await self._queries.run(lambda reader: reader.execute(_LEFT, (limit,)).fetchall())
        return [LeftMessage(*row) for row in rows]

    async def weigh(self, after: int, limit: int) -> OutboxWeight:
        """How much the up to `limit` messages above `after` are."""
        (row,) = await self._queries.run(lambda reader: reader.execute(_WEIGH, (after, limit)).fetchall())
        return OutboxWeight(*row)


def _row(row: tuple[Any, ...]) -> OutboxRow:
    seq, topic, partition, key, id, envelope = row
    return OutboxRow(seq, topic, partition, key, uuid_of(id), envelope)

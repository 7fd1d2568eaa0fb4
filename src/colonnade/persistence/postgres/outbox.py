"""The outbox as its relay takes it: what its own process has committed is known, and the rest is looked for."""

from collections.abc import Collection

from colonnade.persistence.postgres.holding import Hold
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.postgres.tail import Tail
from colonnade.persistence.store import ChainPage, LeftMessage, OutboxRow, OutboxWeight

__all__ = ["PostgresOutbox"]

_ENDS = """
    SELECT r.topic, r.partition, r.seq, EXISTS (SELECT FROM {s}.outbox o WHERE o.seq = r.seq)
    FROM {s}.relayed r WHERE r.topic = ANY ($1)
"""

# In order and from the first, so that what is kept of a chain has no holes: marks move between two looks. The mark is
# looked up row by row: a join would read all that is kept.
_LEFT = """
    SELECT o.seq, o.time, octet_length(o.envelope) FROM {s}.outbox o
    WHERE o.seq <= (SELECT r.seq FROM {s}.relayed r WHERE r.topic = o.topic AND r.partition = o.partition)
    ORDER BY o.seq LIMIT $1
"""


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

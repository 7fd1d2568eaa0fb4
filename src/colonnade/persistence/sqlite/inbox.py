"""The inbox's rows and the heads of its lines, as the writer changes them."""

from collections.abc import Collection
from typing import Any, cast
from uuid import UUID

import apsw

from colonnade.persistence.failures import AlreadyHandled, NotLost, NotParked
from colonnade.persistence.own_chains import OWN_CHAINS
from colonnade.persistence.unit import (
    ChainId,
    Deliver,
    Discard,
    Handled,
    Park,
    PassOver,
    Receive,
    Retry,
    Succeed,
    Unpark,
)

__all__ = ["KEEP_ASIDE", "UNHANDLED", "InboxWriter"]

KEEP_ASIDE = "INSERT INTO kept_aside (origin, reason, data, received_at) VALUES (?, ?, ?, ?)"

UNHANDLED = "SELECT (SELECT count(*) FROM inbox) - (SELECT count(*) FROM inbox WHERE parked_at IS NOT NULL)"

_INSERT = (
    "INSERT OR IGNORE INTO inbox (row, chain, consumer, key, seq, prev, ready, received_at, sent_at, envelope) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# One that came early may be made ready after one that follows it: the earlier goes first
_NEW_HEAD = (
    "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT (consumer, key, chain) DO UPDATE "
    "SET row = excluded.row, seq = excluded.seq, sent_at = excluded.sent_at WHERE excluded.seq < heads.seq"
)
# A parked row that holds its line stays its head, whatever else was tried again meanwhile
_NEXT = (
    "SELECT row, seq, sent_at, holds FROM inbox WHERE consumer = ? AND key = ? AND chain = ? AND seq > ? AND ready "
    "AND (parked_at IS NULL OR holds) ORDER BY seq LIMIT 1"
)
# A row that is no longer first, because an earlier one was tried again, leaves the head alone
_HEAD = "consumer = ? AND key = ? AND chain = ? AND row = ?"


class InboxWriter:
    """Keeps one head for each line of messages: of one consumer, one key, one chain."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._run = connection.execute
        self._chains: dict[ChainId, tuple[int, int]] = {}
        self._last_row = 0
        self.unhandled = 0
        """How many rows are neither done nor parked: counted here, since counting reads all of them."""
        self._counted = 0

    def remember(self) -> None:
        """Read what is kept in memory, at first and after a transaction was rolled back."""
        # Never a lower number than one given before: somebody may still hold it
        last_row: Any = self._run("SELECT coalesce(max(row), 0) FROM inbox").get
        self._last_row = max(self._last_row, last_row)
        self.unhandled = self._counted = cast(int, self._run(UNHANDLED).get)
        self._chains = {
            ChainId(source, UUID(bytes=history), topic, partition): (id, received)
            for id, source, history, topic, partition, received in self._run(
                "SELECT id, source, history, topic, partition, received FROM chains"
            )
        }

    def committed(self) -> None:
        """What was counted is durable; what a transaction counted that came to nothing is read anew."""
        self.unhandled = self._counted

    def has(self, row: int) -> bool:
        """Whether the row waits to be handled."""
        return self._run("SELECT 1 FROM inbox WHERE row = ? AND parked_at IS NULL", (row,)).get is not None

    def has_parked(self, row: int) -> bool:
        """Whether the row is parked."""
        return self._run("SELECT 1 FROM inbox WHERE row = ? AND parked_at IS NOT NULL", (row,)).get is not None

    def received(self, chain: ChainId) -> int:
        """How far the chain has been received without a gap."""
        known = self._chains.get(chain)
        return known[1] if known is not None else 0

    def is_free(self, consumer: str, key: str, chain: ChainId | None = None, handled: Collection[int] = ()) -> bool:
        """Whether nothing waits in a line, of a chain or of messages of one's own, but what is `handled` just now."""
        id = OWN_CHAINS[""]
        if chain is not None:
            if (known := self._chains.get(chain)) is None:
                return True
            id = known[0]
        sql = "SELECT row FROM inbox WHERE consumer = ? AND key = ? AND chain = ? LIMIT ?"
        rows = self._run(sql, (consumer, key, id, len(handled) + 1)).fetchall()
        return all(row in handled for (row,) in rows)

    def deliver(self, effect: Deliver, now: int) -> None:
        """Put a message of the service to itself at the end of its line."""
        chain = OWN_CHAINS[effect.lane]
        # A row's number is also its place: rows of one's own come in order
        row = self._last_row + 1
        self._insert(row, chain, effect.consumer, effect.key, row, 0, True, now, now, effect.envelope)

    def receive(self, effect: Receive, now: int) -> None:
        """Take messages of a chain in, and move its mark."""
        known = self._chains.get(effect.chain)
        if known is None:
            chain = effect.chain
            new: Any = self._run(
                "INSERT INTO chains (source, history, topic, partition, received) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (chain.source, chain.history.bytes, chain.topic, chain.partition, effect.received),
            ).fetchall()
            id = int(new[0][0])
        else:
            id = known[0]
            if effect.received != known[1]:
                self._run("UPDATE chains SET received = ? WHERE id = ?", (effect.received, id))
        self._chains[effect.chain] = (id, effect.received)
        for message in effect.messages:
            self._insert(
                self._last_row + 1, id, message.consumer, message.key, message.seq, message.prev, message.ready, now,
                message.sent_at, message.envelope,
            )  # fmt: skip
        for seq in effect.completed:
            self._complete(id, seq)

    def succeed(self, effect: Succeed, now: int) -> None:
        """Go on with a chain in another history of its producer."""
        known = self._chains.pop(effect.chain, None)
        if known is None:
            return
        chain, (id, received) = effect.chain, known
        mark = min(received, effect.shared)
        self._run("UPDATE chains SET history = ?, received = ? WHERE id = ?", (effect.history.bytes, mark, id))
        self._chains[ChainId(chain.source, effect.history, chain.topic, chain.partition)] = (id, mark)
        gone: Any = self._run(
            "DELETE FROM inbox WHERE chain = ? AND seq > ? RETURNING row, consumer, key, seq, envelope, parked_at",
            (id, effect.shared),
        ).fetchall()
        for row, consumer, key, seq, _, parked_at in gone:
            self._counted -= parked_at is None
            self._move_head(row, (consumer, key, id, seq))
        for seq, envelope in {each[3]: each[4] for each in sorted(gone, key=lambda each: each[3])}.items():
            origin = f"{chain.source}/{chain.topic}/{chain.partition}/{seq}"
            self._run(KEEP_ASIDE, (origin, effect.reason, envelope, now))

    def hole(self, row: int) -> tuple[ChainId, int]:
        """The chain whose mark stands before what is noted as lost in `row`, and up to where it is missing still.

        Raises `NotLost`.
        """
        found: Any = self._run(
            "SELECT source, history, topic, partition, after, up_to FROM losses WHERE row = ? AND passed_at IS NULL",
            (row,),
        ).get
        if found is None:
            raise NotLost(row)
        source, history, topic, partition, after, up_to = found
        chain = ChainId(source, UUID(bytes=history), topic, partition)
        id, received = self._chains.get(chain, (0, None))
        first: Any = self._run("SELECT prev FROM inbox WHERE chain = ? AND NOT ready ORDER BY seq LIMIT 1", (id,)).get
        up_to = up_to if first is None else min(up_to, first)  # what has come early of it meanwhile ends it
        if received != after or up_to <= after:
            raise NotLost(row)
        return chain, up_to

    def pass_over(self, effect: PassOver, now: int) -> None:
        """Move a chain's mark behind what will not come; whoever receives next wakes what follows."""
        chain, up_to = self.hole(effect.row)
        id, _ = self._chains[chain]
        self._run("UPDATE chains SET received = ? WHERE id = ?", (up_to, id))
        self._chains[chain] = (id, up_to)
        self._run(
            "UPDATE losses SET up_to = ?, passed_at = ?, passed_by = ? WHERE row = ?",
            (up_to, now, effect.by, effect.row),
        )

    def handled(self, effect: Handled) -> None:
        """Forget a message that is done, and let its line go on."""
        line = self._line(
            "DELETE FROM inbox WHERE row = ? AND parked_at IS NULL RETURNING consumer, key, chain, seq", (effect.row,)
        )
        if line is None:
            raise AlreadyHandled(effect.row)
        self._counted -= 1
        self._move_head(effect.row, line)

    def retry(self, effect: Retry) -> None:
        """Let a message, and its line, wait."""
        line = self._line(
            "UPDATE inbox SET attempts = ?, cause = ? WHERE row = ? AND parked_at IS NULL "
            "RETURNING consumer, key, chain, seq",
            (effect.attempts, effect.cause, effect.row),
        )
        if line is None:
            raise AlreadyHandled(effect.row)
        self._run("UPDATE heads SET not_before = ? WHERE " + _HEAD, (effect.not_before, *line[:3], effect.row))

    def park(self, effect: Park, now: int) -> None:
        """Set a message aside; its line is held, or goes on without it."""
        line = self._line(
            "UPDATE inbox SET attempts = ?, cause = ?, parked_at = ?, holds = ? WHERE row = ? AND parked_at IS NULL "
            "RETURNING consumer, key, chain, seq",
            (effect.attempts, effect.cause, now, effect.hold, effect.row),
        )
        if line is None:
            raise AlreadyHandled(effect.row)
        self._counted -= 1
        if effect.hold:
            self._run("UPDATE heads SET held = 1 WHERE " + _HEAD, (*line[:3], effect.row))
        else:
            self._move_head(effect.row, line)

    def unpark(self, effect: Unpark) -> None:
        """Put a parked message first in its line."""
        line = self._line(
            "UPDATE inbox SET attempts = 0, cause = NULL, parked_at = NULL, holds = 0, "
            "envelope = coalesce(?, envelope) WHERE row = ? AND parked_at IS NOT NULL "
            "RETURNING consumer, key, chain, seq",
            (effect.envelope, effect.row),
        )
        if line is None:
            raise NotParked(effect.row)
        self._counted += 1
        consumer, key, chain, seq = line
        self._run(
            "INSERT INTO heads SELECT ?, ?, ?, row, ?, sent_at, 0, 0 FROM inbox WHERE row = ? "
            "ON CONFLICT (consumer, key, chain) DO UPDATE SET row = excluded.row, seq = excluded.seq, "
            "sent_at = excluded.sent_at, held = 0, not_before = 0 WHERE excluded.seq <= heads.seq",
            (consumer, key, chain, seq, effect.row),
        )

    def discard(self, effect: Discard) -> None:
        """Give a parked message up; if its line was held by it, the line goes on."""
        line = self._line(
            "DELETE FROM inbox WHERE row = ? AND parked_at IS NOT NULL RETURNING consumer, key, chain, seq",
            (effect.row,),
        )
        if line is None:
            raise NotParked(effect.row)
        self._move_head(effect.row, line)

    def _insert(
        self,
        row: int,
        chain: int,
        consumer: str,
        key: str,
        seq: int,
        prev: int,
        ready: bool,
        now: int,
        sent_at: int,
        envelope: bytes,
    ) -> None:
        self._run(_INSERT, (row, chain, consumer, key, seq, prev, ready, now, sent_at, envelope))
        if not self._connection.changes():
            # There already: received early, and again; perhaps now that all before it have come
            if ready:
                self._complete(chain, seq)
            return
        self._last_row = row
        self._counted += 1
        if ready:
            self._run(_NEW_HEAD, (consumer, key, chain, row, seq, sent_at))

    def _complete(self, chain: int, seq: int) -> None:
        rows: Any = self._run(
            "UPDATE inbox SET ready = 1 WHERE chain = ? AND seq = ? AND NOT ready "
            "RETURNING consumer, key, row, sent_at",
            (chain, seq),
        ).fetchall()
        for consumer, key, row, sent_at in rows:
            self._run(_NEW_HEAD, (consumer, key, chain, row, seq, sent_at))

    def _line(self, sql: str, parameters: tuple[object, ...]) -> tuple[str, str, int, int] | None:
        rows = self._run(sql, parameters).fetchall()  # to the end, as a statement with RETURNING must be run
        return cast(tuple[str, str, int, int], rows[0]) if rows else None

    def _move_head(self, row: int, line: tuple[str, str, int, int]) -> None:
        following: Any = self._run(_NEXT, line).get
        head = (*line[:3], row)
        if following is None:
            self._run("DELETE FROM heads WHERE " + _HEAD, head)
        else:
            moved = "UPDATE heads SET row = ?, seq = ?, sent_at = ?, held = ?, not_before = 0 WHERE " + _HEAD
            self._run(moved, (*following, *head))

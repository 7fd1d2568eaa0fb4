"""The inbox's rows and the heads of its lines, as the writer changes them."""

from typing import Any, cast
from uuid import UUID

import apsw

from colonnade.persistence.unit import ChainId, Deliver, Discard, Handled, Park, Receive, Retry, Unpark

__all__ = ["OWN_CHAINS", "InboxWriter"]

OWN_CHAINS = {"": 0, "timers": -1}
"""The chains of messages that a service sends to itself, by lane; those from others have ids above zero."""

_INSERT = (
    "INSERT OR IGNORE INTO inbox (row, chain, consumer, key, seq, prev, ready, received_at, envelope) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NEW_HEAD = "INSERT OR IGNORE INTO heads VALUES (?, ?, ?, ?, ?, 0, 0)"
_NEXT = (
    "SELECT row, seq FROM inbox WHERE consumer = ? AND key = ? AND chain = ? AND seq > ? AND ready "
    "AND parked_at IS NULL ORDER BY seq LIMIT 1"
)
_LINE = "consumer = ? AND key = ? AND chain = ?"


class InboxWriter:
    """Keeps one head for each line of messages: of one consumer, one key, one chain."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._run = connection.execute
        self._chains: dict[ChainId, tuple[int, int]] = {}
        self._last_row = 0

    def forget(self) -> None:
        """Read again what is remembered: the transaction was rolled back."""
        last_row: Any = self._run("SELECT coalesce(max(row), 0) FROM inbox").get
        self._last_row = last_row
        self._chains = {
            ChainId(source, UUID(bytes=history), topic, partition): (id, received)
            for id, source, history, topic, partition, received in self._run(
                "SELECT id, source, history, topic, partition, received FROM chains"
            )
        }

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

    def deliver(self, effect: Deliver, now: int) -> None:
        """Put a message of the service to itself at the end of its line."""
        self._last_row = row = self._last_row + 1
        chain = OWN_CHAINS[effect.lane]
        # A row's number is also its place: rows of one's own come in order
        self._run(_INSERT, (row, chain, effect.consumer, effect.key, row, 0, 1, now, effect.envelope))
        self._run(_NEW_HEAD, (effect.consumer, effect.key, chain, row, row))

    def receive(self, effect: Receive, now: int) -> None:
        """Take messages of a chain in, and move its mark."""
        known = self._chains.get(effect.chain)
        if known is None:
            chain = effect.chain
            id = self._run(
                "INSERT INTO chains (source, history, topic, partition, received) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (chain.source, chain.history.bytes, chain.topic, chain.partition, effect.received),
            ).get
        else:
            id = known[0]
            if effect.received != known[1]:
                self._run("UPDATE chains SET received = ? WHERE id = ?", (effect.received, id))
        self._chains[effect.chain] = (id, effect.received)
        for message in effect.messages:
            self._last_row = row = self._last_row + 1
            self._run(
                _INSERT,
                (
                    row, id, message.consumer, message.key, message.seq, message.prev, message.ready, now,
                    message.envelope,
                ),
            )  # fmt: skip
            if message.ready:
                self._run(_NEW_HEAD, (message.consumer, message.key, id, row, message.seq))
        for seq in effect.completed:
            rows: Any = self._run(
                "UPDATE inbox SET ready = 1 WHERE chain = ? AND seq = ? AND NOT ready RETURNING consumer, key, row",
                (id, seq),
            ).fetchall()
            for consumer, key, row in rows:
                self._run(_NEW_HEAD, (consumer, key, id, row, seq))

    def handled(self, effect: Handled) -> None:
        """Forget a message that is done, and let its line go on."""
        consumer, key, chain, seq = self._line(
            "DELETE FROM inbox WHERE row = ? RETURNING consumer, key, chain, seq", (effect.row,)
        )
        self._move_head(consumer, key, chain, seq)

    def retry(self, effect: Retry) -> None:
        """Let a message, and its line, wait."""
        consumer, key, chain = self._run(
            "UPDATE inbox SET attempts = ?, cause = ? WHERE row = ? RETURNING consumer, key, chain",
            (effect.attempts, effect.cause, effect.row),
        ).fetchall()[0]
        self._run("UPDATE heads SET not_before = ? WHERE " + _LINE, (effect.not_before, consumer, key, chain))

    def park(self, effect: Park, now: int) -> None:
        """Set a message aside; its line is held, or goes on without it."""
        consumer, key, chain, seq = self._line(
            "UPDATE inbox SET attempts = ?, cause = ?, parked_at = ? WHERE row = ? RETURNING consumer, key, chain, seq",
            (effect.attempts, effect.cause, now, effect.row),
        )
        if effect.hold:
            self._run("UPDATE heads SET held = 1 WHERE " + _LINE, (consumer, key, chain))
        else:
            self._move_head(consumer, key, chain, seq)

    def unpark(self, effect: Unpark) -> None:
        """Put a parked message first in its line."""
        consumer, key, chain, seq = self._line(
            "UPDATE inbox SET attempts = 0, cause = NULL, parked_at = NULL, envelope = coalesce(?, envelope) "
            "WHERE row = ? RETURNING consumer, key, chain, seq",
            (effect.envelope, effect.row),
        )
        self._run(
            "INSERT INTO heads VALUES (?, ?, ?, ?, ?, 0, 0) ON CONFLICT (consumer, key, chain) DO UPDATE "
            "SET row = excluded.row, seq = excluded.seq, held = 0, not_before = 0 WHERE excluded.seq <= heads.seq",
            (consumer, key, chain, effect.row, seq),
        )

    def discard(self, effect: Discard) -> None:
        """Give a parked message up; if its line was held by it, the line goes on."""
        consumer, key, chain, seq = self._line(
            "DELETE FROM inbox WHERE row = ? RETURNING consumer, key, chain, seq", (effect.row,)
        )
        head = self._run("SELECT row FROM heads WHERE " + _LINE, (consumer, key, chain)).get
        if head == effect.row:
            self._move_head(consumer, key, chain, seq)

    def _line(self, sql: str, parameters: tuple[object, ...]) -> tuple[str, str, int, int]:
        rows = self._run(sql, parameters).fetchall()  # to the end, as a statement with RETURNING must be run
        return cast(tuple[str, str, int, int], rows[0])

    def _move_head(self, consumer: str, key: str, chain: int, seq: int) -> None:
        following = self._run(_NEXT, (consumer, key, chain, seq)).get
        if following is None:
            self._run("DELETE FROM heads WHERE " + _LINE, (consumer, key, chain))
        else:
            self._run(
                "UPDATE heads SET row = ?, seq = ?, held = 0, not_before = 0 WHERE " + _LINE,
                (*following, consumer, key, chain),
            )

"""What has left and what has expired goes, a few rows at a time."""

from typing import Any, NamedTuple

import apsw

__all__ = ["Pruned", "delete_left", "left_behind", "prune_page"]

_HAS_LEFT = (
    "seq <= coalesce((SELECT seq FROM relayed WHERE relayed.topic = outbox.topic "
    "AND relayed.partition = outbox.partition), 0)"
)
_PAGE_END = "SELECT max(seq) FROM (SELECT seq FROM outbox ORDER BY seq LIMIT ?)"
_DELETE_PAGE = f"DELETE FROM outbox WHERE seq <= ? AND {_HAS_LEFT}"
_BEHIND = "SELECT EXISTS (SELECT 1 FROM outbox WHERE seq > ? AND seq <= (SELECT max(seq) FROM relayed))"
# In order and from the first, so that what is left of a partition has no holes: marks move between two looks
_LEFT_BEHIND = (
    f"SELECT seq FROM outbox WHERE seq <= (SELECT max(seq) FROM relayed) AND {_HAS_LEFT} ORDER BY seq LIMIT ?"
)
_DELETE_EXPIRED = "DELETE FROM answers WHERE scope IN (SELECT scope FROM answers WHERE expires <= ? LIMIT ?)"


class Pruned(NamedTuple):
    """How many messages and answers went, and whether messages may have left behind those that stay."""

    messages: int
    answers: int
    behind: bool


def prune_page(connection: apsw.Connection, now: int, limit: int) -> Pruned:
    """Delete what has left of the oldest `limit` messages, and up to `limit` answers that expired at `now`."""
    end = connection.execute(_PAGE_END, (limit,)).get or 0
    connection.execute(_DELETE_PAGE, (end,))
    messages = connection.changes()
    connection.execute(_DELETE_EXPIRED, (now, limit))
    answers = connection.changes()
    # Some of the page stay, and hide what left behind them
    behind = messages < limit and connection.execute(_BEHIND, (end,)).get
    return Pruned(messages, answers, bool(behind))


def left_behind(connection: apsw.Connection, limit: int) -> list[tuple[Any, ...]]:
    """The first `limit` messages that have left; it reads all that stay before them."""
    return connection.execute(_LEFT_BEHIND, (limit,)).fetchall()


def delete_left(connection: apsw.Connection, left: list[tuple[Any, ...]]) -> int:
    """Delete these messages; how many went."""
    before = connection.total_changes()
    connection.executemany("DELETE FROM outbox WHERE seq = ?", left)
    return connection.total_changes() - before

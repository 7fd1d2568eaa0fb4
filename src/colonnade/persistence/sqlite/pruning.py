"""What was kept long enough and what has expired goes, a few rows at a time."""

from collections.abc import Sequence

import apsw

__all__ = ["prune_page"]

_MARK = """
    INSERT INTO pruned SELECT topic, partition, seq FROM outbox WHERE seq = ?
    ON CONFLICT (topic, partition) DO UPDATE SET seq = max(pruned.seq, excluded.seq)
"""
_DELETE = "DELETE FROM outbox WHERE seq = ?"
_DELETE_EXPIRED = "DELETE FROM answers WHERE scope IN (SELECT scope FROM answers WHERE expires <= ? LIMIT ?)"


def prune_page(connection: apsw.Connection, messages: Sequence[int], now: int, limit: int) -> int:
    """Delete these messages, and up to `limit` answers that expired at `now`; how many answers went."""
    seqs = [(seq,) for seq in messages]
    connection.executemany(_MARK, seqs)
    connection.executemany(_DELETE, seqs)
    connection.execute(_DELETE_EXPIRED, (now, limit))
    return connection.changes()

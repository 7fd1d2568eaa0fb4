"""What was kept long enough and what has expired goes, a few rows at a time."""

from collections.abc import Sequence

from colonnade.persistence.postgres.connections import Link
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.postgres.rows import Pages

__all__ = ["prune"]

_DELETE = """
    WITH gone AS (DELETE FROM {s}.outbox WHERE seq = ANY ($1) RETURNING topic, partition, seq)
    INSERT INTO {s}.pruned AS p SELECT topic, partition, max(seq) FROM gone GROUP BY topic, partition
    ORDER BY topic, partition ON CONFLICT (topic, partition) DO UPDATE SET seq = greatest(p.seq, excluded.seq)
"""
_EXPIRED = """
    DELETE FROM {s}.answers WHERE scope IN (SELECT scope FROM {s}.answers WHERE expires <= $1 ORDER BY expires LIMIT $2)
"""


async def prune(pages: Pages, link: Link, store: str, messages: Sequence[int], now: int, limit: int) -> int:
    """Delete these messages, and up to `limit` answers that expired at `now`; how many answers went."""
    async with link.held() as connection:
        try:
            if messages:
                await connection.execute(pages.on(_DELETE), list(messages))
            status = await connection.execute(pages.on(_EXPIRED), now, limit)
        except DRIVER_ERRORS as error:
            raise write_failure(store, error) from error
    return int(status.rpartition(" ")[2])

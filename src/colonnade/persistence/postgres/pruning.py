"""What has left and what has expired goes, a few rows at a time."""

from colonnade.persistence.postgres.connections import Link
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.postgres.rows import Pages

__all__ = ["prune"]

# In order and from the first, so that what is left of a partition has no holes: marks move between two looks
_LEFT = """
    SELECT o.seq FROM {s}.outbox o JOIN {s}.relayed r ON r.topic = o.topic AND r.partition = o.partition
    WHERE o.seq <= r.seq ORDER BY o.seq LIMIT $1
"""
_DELETE = "DELETE FROM {s}.outbox WHERE seq = ANY ($1)"
_EXPIRED = """
    DELETE FROM {s}.answers WHERE scope IN (SELECT scope FROM {s}.answers WHERE expires <= $1 ORDER BY expires LIMIT $2)
"""


async def prune(pages: Pages, link: Link, store: str, now: int, limit: int) -> int:
    """Delete up to `limit` messages that have left, and as many answers that expired at `now`; how many went.

    Who left is found on a connection that reads: in front of them any number may stay, and commits do not wait.
    """
    left = [seq for (seq,) in await pages.all(pages.on(_LEFT), limit)]
    async with link.held() as connection:
        try:
            gone = _count(await connection.execute(pages.on(_DELETE), left)) if left else 0
            return gone + _count(await connection.execute(pages.on(_EXPIRED), now, limit))
        except DRIVER_ERRORS as error:
            raise write_failure(store, error) from error


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])

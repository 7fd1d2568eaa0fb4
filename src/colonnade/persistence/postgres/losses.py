"""What is missing in chains and will not come."""

from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.store import Loss
from colonnade.persistence.unit import ChainId

__all__ = ["PostgresLosses"]

_LOSSES = """
    SELECT l.id, l.source, l.history, l.topic, l.partition, l.after, l.up_to, l.reason, l.since, c.received,
        (SELECT count(DISTINCT i.seq) FROM {s}.inbox i WHERE i.chain = c.id AND NOT i.ready), l.passed_at, l.passed_by
    FROM {s}.losses l LEFT JOIN {s}.chains c
        ON c.source = l.source AND c.history = l.history AND c.topic = l.topic AND c.partition = l.partition
    WHERE
"""


class PostgresLosses:
    """What was noted as lost."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._page = pages.on(f"{_LOSSES} l.id > $1 ORDER BY l.id LIMIT $2")
        self._one = pages.on(f"{_LOSSES} l.id = $1")

    async def page(self, after: int = 0, limit: int = 100) -> list[Loss]:
        """Up to `limit` of what was noted, whose row is above `after`."""
        return await self._of(self._page, after, limit)

    async def one(self, row: int) -> Loss | None:
        """One of them."""
        found = await self._of(self._one, row)
        return found[0] if found else None

    async def _of(self, sql: str, *values: int) -> list[Loss]:
        return [
            Loss(row, ChainId(source, history, topic, partition), *rest)
            for row, source, history, topic, partition, *rest in await self._pages.all(sql, *values)
        ]

"""What is missing in chains and will not come."""

from uuid import UUID

from colonnade.persistence.sqlite.rows import Pages
from colonnade.persistence.store import Loss
from colonnade.persistence.unit import ChainId

__all__ = ["SqliteLosses"]

_LOSSES = """
    SELECT losses.row, source, history, topic, partition, after, up_to, reason, since, chains.received,
        (SELECT count(DISTINCT seq) FROM inbox WHERE chain = chains.id AND NOT ready), passed_at, passed_by
    FROM losses LEFT JOIN chains USING (source, history, topic, partition)
    WHERE
"""


class SqliteLosses:
    """What was noted as lost."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def page(self, after: int = 0, limit: int = 100) -> list[Loss]:
        """Up to `limit` of what was noted, whose row is above `after`."""
        return self._of(f"{_LOSSES} losses.row > ? ORDER BY losses.row LIMIT ?", after, limit)

    async def one(self, row: int) -> Loss | None:
        """One of them."""
        found = self._of(f"{_LOSSES} losses.row = ?", row)
        return found[0] if found else None

    def _of(self, sql: str, *values: int) -> list[Loss]:
        return [
            Loss(row, ChainId(source, UUID(bytes=history), topic, partition), *rest)
            for row, source, history, topic, partition, *rest in self._pages.all(sql, values)
        ]

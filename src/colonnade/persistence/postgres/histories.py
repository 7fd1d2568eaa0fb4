"""The history that a store is in: another one begins where the tables are found on another server or timeline."""

from collections.abc import Mapping
from itertools import accumulate
from uuid import UUID

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.postgres.connections import Connection
from colonnade.world import World

__all__ = ["HistoryEnded", "Present", "continue_history", "ended_histories"]


class HistoryEnded(StoreFailed):
    """The database was promoted, restored or recovered since this process opened it: what it remembers may be lost."""

    def __init__(self, store: str) -> None:
        super().__init__(
            store,
            "it was promoted, restored or recovered, and this process remembers what was before; start it anew",
        )


async def continue_history(connection: Connection, schema: str, world: World) -> None:
    """Begin another history where the tables are not where they have been written until now."""
    if not await connection.fetchval(f'SELECT "{schema}".is_continued()'):
        await connection.execute(f'SELECT "{schema}".begin_history($1)', world.ids.new())


async def ended_histories(connection: Connection, schema: str) -> Mapping[UUID, int]:
    """The histories before the present one, each with the position up to which both have the same."""
    rows = await connection.fetch(f'SELECT history, shared FROM "{schema}".histories ORDER BY number DESC')
    # What a later end has cut off is shared with none before it
    shared = accumulate((row["shared"] for row in rows), min)
    return {row["history"]: position for row, position in zip(rows, shared, strict=True)}


class Present:
    """The histories that a process has opened, by schema. Connections to another one are refused, and then all."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._histories: dict[str, UUID] = {}
        self._ended = False

    def know(self, schema: str, history: UUID) -> None:
        """Let from now on nobody in who finds the tables of `schema` in another history."""
        self._histories[schema] = history

    async def admit(self, connection: Connection) -> None:
        """Let a new connection in; raises `HistoryEnded`."""
        for schema, known in list(self._histories.items()):
            history, continued = await connection.fetchrow(
                f'SELECT history, "{schema}".is_continued() FROM "{schema}".store'
            )
            self.seen(continued=continued and history == known)

    def seen(self, *, continued: bool) -> None:
        """Note what was seen of the database; raises `HistoryEnded` where it has gone on without this process."""
        if not continued:
            self._ended = True
        self.check()

    def check(self) -> None:
        """Raise `HistoryEnded` once that was seen."""
        if self._ended:
            raise HistoryEnded(self._store)

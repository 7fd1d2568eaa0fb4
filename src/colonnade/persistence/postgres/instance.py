"""What one instance opens to its database, however many stores it has there."""

from colonnade.persistence.postgres.connections import Connections, name_of
from colonnade.persistence.postgres.histories import Present
from colonnade.persistence.postgres.listening import Listener
from colonnade.persistence.postgres.slow import SLOW_SECONDS
from colonnade.world import World

__all__ = ["PostgresInstance"]


class PostgresInstance:
    """Connections and a listener for the stores of all tenants: whoever commits has a writer for one batch at a time.

    They wait for each other in turn, so that one with much to do does not keep the others from what they need.
    Where `url` is that of a pooler, `direct` is that of the server behind it.
    """

    def __init__(
        self, url: str, world: World, *, direct: str | None = None, slow_seconds: float = SLOW_SECONDS
    ) -> None:
        self.id = world.ids.new().hex
        self.present = Present(name_of(url, "*"))
        self.connections = Connections(
            url,
            "pg_catalog",
            self.id,
            world.clock,
            pooled=direct is not None,
            admit=self.present,
            slow_seconds=slow_seconds,
        )
        self.listener = Listener(direct or url, self.connections.application, world)

    async def close(self) -> None:
        """Let go of the connections; the stores must have been closed."""
        await self.listener.close()
        await self.connections.close_readers()
        await self.connections.close_writers()

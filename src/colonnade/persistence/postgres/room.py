"""Whether a server has room for all that the instances on it may open."""

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.postgres.connections import CONNECTIONS, Connection

__all__ = ["NoRoom", "check_room"]

# An instance is counted with all it may open, whatever it has opened; of others only what they have
_ROOM = """
    SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
            - current_setting('reserved_connections')::integer,
        (SELECT count(DISTINCT split_part(application_name, ' ', 2)) FROM pg_stat_activity
            WHERE application_name LIKE 'colonnade %'),
        (SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND application_name NOT LIKE 'colonnade %')
"""


class NoRoom(StoreFailed):
    """The instances together may open more connections than the server takes."""


async def check_room(connection: Connection, store: str) -> None:
    """Raise `NoRoom` where this instance, which `connection` is of, is one too many."""
    limit, instances, others = await connection.fetchrow(_ROOM)
    wanted = instances * CONNECTIONS + others
    if wanted > limit:
        raise NoRoom(
            store,
            f"{instances} instances on its server may open {CONNECTIONS} connections each, and {others} are others': "
            f"{wanted}, but it takes {limit}; raise max_connections, or run fewer instances",
        )

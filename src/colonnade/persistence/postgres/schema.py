"""How the tables of a store are made, told from others, and checked."""

from collections.abc import Mapping
from datetime import timedelta
from importlib.resources import files
from typing import NamedTuple
from uuid import UUID

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.partitions import PARTITIONS
from colonnade.persistence.postgres.connections import Connection
from colonnade.persistence.postgres.histories import ended_histories
from colonnade.persistence.postgres.versions import BEGIN_LINE, OWN_LINE
from colonnade.world import World

__all__ = ["Identity", "UnfitSchema", "forget_writers", "identify", "make"]

WRITERS_KEPT_DAYS = 1

_IS_THERE = """
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2
    )
"""

_PARTS = ("tables", "histories", "log", "inbox", "losses", "effects", "shares")


class UnfitSchema(StoreFailed):
    """The schema's tables are not those that this code knows."""


class Identity(NamedTuple):
    """What was fixed when a store was made, or begun anew in another history."""

    history: UUID
    partitions: int
    ended: Mapping[UUID, int]
    """The histories before, each with the position up to which this one has the same."""


async def make(connection: Connection, schema: str, world: World) -> None:
    """Make the tables of a new store, whole or not at all, where there are none.

    Of several processes that begin at the same time one makes them, and the others wait.
    """
    if await _is_there(connection, schema):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"colonnade {schema}")
        if not await _is_there(connection, schema):
            await _make(connection, schema, world)


async def forget_writers(connection: Connection, schema: str) -> None:
    """Forget those who have committed nothing for so long that nobody asks what came of their last batch."""
    days = timedelta(days=WRITERS_KEPT_DAYS)
    await connection.execute(f'DELETE FROM "{schema}".writers WHERE used < now() - $1::interval', days)


async def identify(connection: Connection, schema: str, name: str) -> Identity:
    """What was fixed when the store was made; raises `UnfitSchema`."""
    if not await _is_there(connection, schema):
        raise UnfitSchema(name, "there is no store in it; name another database, or start the system on it")
    if not await _is_there(connection, schema, "versions"):
        raise UnfitSchema(name, "its tables are those of a Colonnade before its first release; name another database")
    row = await connection.fetchrow(f'SELECT history, partitions FROM "{schema}".store')
    if row is None:
        raise UnfitSchema(name, "its table `store` is empty; restore it, or name another database")
    return Identity(row["history"], row["partitions"], await ended_histories(connection, schema))


async def _is_there(connection: Connection, schema: str, table: str = "store") -> bool:
    # The catalogue itself: a look by name, as of `to_regclass`, may know only what was before it waited for a lock
    there: bool = await connection.fetchval(_IS_THERE, schema, table)
    return there


async def _make(connection: Connection, schema: str, world: World) -> None:
    await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    await connection.execute(f'SET LOCAL search_path = "{schema}"')
    for part in _PARTS:
        await connection.execute(files(__package__).joinpath("sql", f"{part}.sql").read_text())
    await connection.execute("INSERT INTO store SELECT $1, $2, w.* FROM whereabouts() w", world.ids.new(), PARTITIONS)
    await connection.execute(BEGIN_LINE.replace("{s}", f'"{schema}"'), OWN_LINE.name, OWN_LINE.code)

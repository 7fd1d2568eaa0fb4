"""Who uses a store with which code, as rows, and the lock at which whoever starts and whoever contracts meet."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from colonnade.persistence.migrations.line import COLONNADE, Line, read_line
from colonnade.persistence.migrations.versions import Instance, LineVersion, OlderInstances, check_code
from colonnade.persistence.postgres.connections import Connection, Link
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure

__all__ = [
    "BEGIN_LINE",
    "OWN_LINE",
    "REGISTERED_SECONDS",
    "PostgresVersions",
    "enter_line",
    "raise_oldest",
    "version_of",
]

OWN_LINE = read_line(COLONNADE, Path(__file__).parent / "migrations")

REGISTERED_SECONDS = 30.0
"""How long an instance counts as being there after it last said so; one that was killed delays contracting so long."""

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

BEGIN_LINE = "INSERT INTO {s}.versions VALUES ($1, $2, $2, $2) ON CONFLICT DO NOTHING"
_VERSION = "SELECT version, oldest_code, contracted FROM {s}.versions WHERE line = $1"
_REGISTER = f"""
    INSERT INTO {{s}}.instances VALUES ($1, $2, $3, $4, {_NOW} + $5)
    ON CONFLICT (id, line) DO UPDATE SET expires = excluded.expires
"""
_FORGET_EXPIRED = f"DELETE FROM {{s}}.instances WHERE line = $1 AND expires <= {_NOW}"
_OLDER = "SELECT place, code FROM {s}.instances WHERE line = $1 AND code < $2 ORDER BY code, place"
_RAISE = "UPDATE {s}.versions SET oldest_code = $2 WHERE line = $1"


class PostgresVersions:
    """Registers one instance, for as long as it renews."""

    def __init__(self, link: Link, store: str, schema: str, instance: str) -> None:
        self._link = link
        self._store = store
        self._schema = schema
        self._instance = instance
        self._place = f"process {os.getpid()} on {platform.node()}"
        self._codes: dict[str, int] = {}

    async def enter(self, line: Line) -> None:
        """Begin to use the tables of `line`; raises `CodeTooOld`, `CodeTooNew`, `StoreFailed`."""
        async with self._link.held() as connection:
            try:
                await connection.execute(_on(self._schema, BEGIN_LINE), line.name, line.code)
                await self._enter(connection, line.name, line.code)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error
        self._codes[line.name] = line.code

    async def renew(self) -> None:
        """Remain registered; raises `CodeTooOld`, `StoreFailed`."""
        async with self._link.held() as connection:
            try:
                for line, code in self._codes.items():
                    await self._enter(connection, line, code)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error

    async def leave(self) -> None:
        """Be there no more, if it ever was; who cannot say so is forgotten after `REGISTERED_SECONDS`."""
        if not self._codes:
            return
        async with self._link.held() as connection:
            try:
                sql = _on(self._schema, "DELETE FROM {s}.instances WHERE id = $1")
                await connection.execute(sql, self._instance)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error

    async def _enter(self, connection: Connection, line: str, code: int) -> None:
        async with connection.transaction():
            await enter_line(connection, self._schema, self._store, line, code, self._instance, self._place)


async def enter_line(
    connection: Connection, schema: str, store: str, line: str, code: int, instance: str, place: str
) -> None:
    """Compare and register, inside a transaction: until it ends nobody can raise the oldest code.

    Raises `CodeTooOld`, `CodeTooNew`.
    """
    check_code(store, line, code, await version_of(connection, schema, line, lock="SHARE"))
    lifetime = int(REGISTERED_SECONDS * 1_000_000)
    await connection.execute(_on(schema, _REGISTER), instance, line, code, place, lifetime)


async def raise_oldest(connection: Connection, schema: str, store: str, line: str, to: int) -> None:
    """Refuse code below `to` from now on, inside a transaction; raises `OlderInstances` while there is such code.

    It waits for who is registering, and who comes after finds the new number.
    """
    version = await version_of(connection, schema, line, lock="UPDATE")
    await connection.execute(_on(schema, _FORGET_EXPIRED), line)
    older: Sequence[Instance] = [Instance(*row) for row in await connection.fetch(_on(schema, _OLDER), line, to)]
    if older:
        raise OlderInstances(store, line, to, older)
    if to > version.oldest_code:
        await connection.execute(_on(schema, _RAISE), line, to)


async def version_of(connection: Connection, schema: str, line: str, lock: str | None = None) -> LineVersion:
    """How far a line is; 0 for one that nobody has begun. With `lock`, held until the transaction ends."""
    sql = _on(schema, _VERSION) + (f" FOR {lock}" if lock is not None else "")
    row = await connection.fetchrow(sql, line)
    return LineVersion(*row) if row is not None else LineVersion(0, 0, 0)


def _on(schema: str, sql: str) -> str:
    return sql.replace("{s}", f'"{schema}"')

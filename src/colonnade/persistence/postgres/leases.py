"""Leases as rows, by the clock of the database that they guard."""

from colonnade.persistence.postgres.connections import Link
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.store import Lease

__all__ = ["PostgresLeases"]

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_ACQUIRE = f"""
    INSERT INTO {{s}}.leases AS l VALUES ($1, $2, 1, {_NOW} + $3)
    ON CONFLICT (name) DO UPDATE SET epoch = l.epoch + (l.owner <> $2)::integer, owner = $2, expires = {_NOW} + $3
    WHERE l.owner = $2 OR l.expires <= {_NOW} RETURNING epoch, expires
"""
_RELEASE = """
    UPDATE {s}.leases SET expires = 0, owner = '', epoch = epoch + 1 WHERE name = $1 AND epoch = $2 AND owner = $3
"""

_RELEASE_ALL = "UPDATE {s}.leases SET expires = 0, owner = '', epoch = epoch + 1 WHERE owner = $1"


class PostgresLeases:
    """Who does what alone."""

    def __init__(self, link: Link, store: str, schema: str) -> None:
        self._link = link
        self._store = store
        self._acquire = _ACQUIRE.format(s=f'"{schema}"')
        self._release = _RELEASE.format(s=f'"{schema}"')
        self._release_all = _RELEASE_ALL.format(s=f'"{schema}"')

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take or renew the lease; None while another owner's has not expired."""
        async with self._link.held() as connection:
            try:
                row = await connection.fetchrow(self._acquire, name, owner, int(seconds * 1_000_000))
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error
        return Lease(name, owner, row["epoch"], row["expires"]) if row is not None else None

    async def release(self, lease: Lease) -> None:
        """Give the lease up, if it is still held; its epoch ends with it."""
        async with self._link.held() as connection:
            try:
                await connection.execute(self._release, lease.name, lease.epoch, lease.owner)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error

    async def release_all(self, owner: str) -> None:
        """Give up all that is held by `owner`, who has ended."""
        async with self._link.held() as connection:
            try:
                await connection.execute(self._release_all, owner)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error

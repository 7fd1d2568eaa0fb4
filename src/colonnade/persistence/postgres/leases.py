"""Leases as rows, by the clock of the database that they guard."""

from collections.abc import Callable, Collection, Sequence

from colonnade.persistence.postgres.connections import Link
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.store import Lease, Sharer, Touched

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

_RELEASE_ALL = """
    WITH gone AS (DELETE FROM {s}.sharers WHERE owner = $1)
    UPDATE {s}.leases SET expires = 0, owner = '', epoch = epoch + 1 WHERE owner = $1
"""
_LEAVE = "DELETE FROM {s}.sharers WHERE work = $1 AND owner = $2"
_HELD = f"""
    SELECT name FROM {{s}}.leases WHERE expires > {_NOW}
    UNION ALL SELECT work || '/' || part FROM {{s}}.sharers, unnest(parts) AS part WHERE expires > {_NOW}
"""
_SHARE = "SELECT owner, parts FROM {s}.share_work($1, $2, $3, $4, $5)"


class PostgresLeases:
    """Who does what alone."""

    def __init__(self, link: Link, pages: Pages, store: str, schema: str, changed: Callable[[Touched], None]) -> None:
        self._pages = pages
        self._held = pages.on(_HELD)
        self._link = link
        self._store = store
        self._changed = changed
        self._sharing: set[tuple[str, str]] = set()
        self._leave = _LEAVE.format(s=f'"{schema}"')
        self._share = _SHARE.format(s=f'"{schema}"')
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
        self._changed(Touched.SHARES)

    async def release_all(self, owner: str) -> None:
        """Give up all that is held by `owner`, who has ended."""
        async with self._link.held() as connection:
            try:
                await connection.execute(self._release_all, owner)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error
        self._sharing = {(work, who) for work, who in self._sharing if who != owner}
        self._changed(Touched.SHARES)

    async def share(
        self, work: str, owner: str, seconds: float, *, take: Collection[int] = (), give: Collection[int] = ()
    ) -> Sequence[Sharer]:
        """Be one of those who share `work`, take and give parts of it; all who share it."""
        async with self._link.held() as connection:
            try:
                rows = await connection.fetch(
                    self._share, work, owner, int(seconds * 1_000_000), list(take), list(give)
                )  # fmt: skip
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error
        if take or give or (work, owner) not in self._sharing:
            self._sharing.add((work, owner))
            self._changed(Touched.SHARES)
        return [Sharer(who, parts) for who, parts in rows]

    async def held(self) -> Collection[str]:
        """The names of the leases that somebody holds now, and of the shared parts."""
        return {name for (name,) in await self._pages.all(self._held)}

    async def leave(self, work: str, owner: str) -> None:
        """Share `work` no more: its parts are free at once."""
        async with self._link.held() as connection:
            try:
                await connection.execute(self._leave, work, owner)
            except DRIVER_ERRORS as error:
                raise write_failure(self._store, error) from error
        self._sharing.discard((work, owner))
        self._changed(Touched.SHARES)

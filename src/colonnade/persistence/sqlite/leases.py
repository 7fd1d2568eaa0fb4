"""Leases as rows of a SQLite store."""

from collections.abc import Callable, Collection, Sequence
from typing import cast

from colonnade.persistence.sqlite.transactions import Transactions
from colonnade.persistence.store import Lease, Sharer, Touched
from colonnade.world import World

__all__ = ["SqliteLeases"]


class SqliteLeases:
    """Who does what alone. SQLite has no clock of its own, and one process owns the file: its clock is the store's."""

    def __init__(self, transactions: Transactions, world: World, changed: Callable[[Touched], None]) -> None:
        self._transactions = transactions
        self._run = transactions.connection.execute
        self._clock = world.clock
        self._changed = changed
        self._sharers: dict[str, dict[str, tuple[int, frozenset[int]]]] = {}
        """By work and owner. All of them are of this process, and gone with it."""

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take or renew the lease; None while another owner's has not expired."""

        def run() -> Lease | None:
            now = self._clock.micros()
            expires = now + int(seconds * 1_000_000)
            rows = self._run(
                "INSERT INTO leases VALUES (?1, ?2, 1, ?3) ON CONFLICT (name) DO UPDATE "
                "SET epoch = epoch + (owner <> ?2), owner = ?2, expires = ?3 "
                "WHERE owner = ?2 OR expires <= ?4 RETURNING epoch",
                (name, owner, expires, now),
            ).fetchall()
            return Lease(name, owner, cast(int, rows[0][0]), expires) if rows else None

        return await self._transactions.run(run)

    async def release(self, lease: Lease) -> None:
        """Give the lease up, if it is still held; its epoch ends with it."""
        await self._transactions.run(
            lambda: self._run(
                "UPDATE leases SET expires = 0, owner = '', epoch = epoch + 1 "
                "WHERE name = ? AND epoch = ? AND owner = ?",
                (lease.name, lease.epoch, lease.owner),
            )
        )
        self._changed(Touched.SHARES)

    async def release_all(self, owner: str) -> None:
        """Give up all that is held by `owner`, who has ended."""
        await self._transactions.run(
            lambda: self._run("UPDATE leases SET expires = 0, owner = '', epoch = epoch + 1 WHERE owner = ?", (owner,))
        )
        for sharers in self._sharers.values():
            sharers.pop(owner, None)
        self._changed(Touched.SHARES)

    async def share(
        self, work: str, owner: str, seconds: float, *, take: Collection[int] = (), give: Collection[int] = ()
    ) -> Sequence[Sharer]:
        """Be one of those who share `work`, take and give parts of it; all who share it."""
        now = self._clock.micros()
        sharers = self._sharers.setdefault(work, {})
        for gone in [who for who, (expires, _) in sharers.items() if expires <= now]:
            del sharers[gone]
        is_new = owner not in sharers
        held = frozenset() if is_new else sharers[owner][1]
        others = {part for who, (_, parts) in sharers.items() if who != owner for part in parts}
        sharers[owner] = now + int(seconds * 1_000_000), (held | {*take}) - {*give} - others
        if take or give or is_new:
            self._changed(Touched.SHARES)
        return [Sharer(who, sorted(parts)) for who, (_, parts) in sorted(sharers.items())]

    async def held(self) -> Collection[str]:
        """The names of the leases that somebody holds now, and of the shared parts."""
        now = self._clock.micros()
        rows = await self._transactions.run(
            lambda: self._run("SELECT name FROM leases WHERE expires > ?", (now,)).fetchall()
        )
        leases = {cast(str, name) for (name,) in rows}
        sharers = ((work, each) for work, of_work in self._sharers.items() for each in of_work.values())
        return leases | {f"{work}/{part}" for work, (expires, parts) in sharers if expires > now for part in parts}

    async def leave(self, work: str, owner: str) -> None:
        """Share `work` no more: its parts are free at once."""
        self._sharers.get(work, {}).pop(owner, None)
        self._changed(Touched.SHARES)

"""A service's store in one SQLite file, written by one thread of one process."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any, TypeVar, cast
from uuid import UUID

import apsw
from sqlalchemy.engine.interfaces import Dialect

from colonnade.persistence.coalescing import Coalescer
from colonnade.persistence.executor import Executor, ThreadExecutor
from colonnade.persistence.sqlite.decimals import add_decimals
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.sqlite.rows import (
    SqliteInbox,
    SqliteLog,
    SqliteOutbox,
    SqliteTimers,
    answer_of,
    deferral_of,
)
from colonnade.persistence.sqlite.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from colonnade.persistence.sqlite.writer import SqliteWriter
from colonnade.persistence.store import Committed, Deferral, Lease, QueryFailed, StoredAnswer, StoreFailed, Touched
from colonnade.persistence.unit import Unit
from colonnade.world import World

__all__ = ["PARTITIONS", "NewerStore", "NotAStore", "SqliteStore", "open_sqlite_store"]

R = TypeVar("R")

PARTITIONS = 8
"""Into how many partitions the outbox of a new store spreads its keys; fixed when the store is made."""

_BUSY_MILLISECONDS = 5_000
_CHECKPOINT_PAGES = 2_000


# What is wrong with a statement or its values, as opposed to the database
_FAULTS = (apsw.SQLError, apsw.BindingsError, apsw.ReadOnlyError, TypeError, ValueError, OverflowError)

_STEPS_BETWEEN_LOOKS = 10_000
"""After how many steps of SQLite's machine a query looks whether anybody still waits for it: under a millisecond."""


def rows_of(
    connection: apsw.Connection, statements: Sequence[tuple[str, Sequence[Any]]], given_up: Callable[[], bool]
) -> list[list[tuple[Any, ...]]]:
    """The rows of each of `statements`; raises `QueryFailed`. It breaks off when `given_up`."""
    found: list[list[tuple[Any, ...]]] = []
    connection.set_progress_handler(given_up, _STEPS_BETWEEN_LOOKS)
    try:
        for sql, parameters in statements:
            try:
                found.append(connection.execute(sql, parameters).fetchall())
            except _FAULTS as error:
                raise QueryFailed(sql, str(error)) from error
    finally:
        connection.set_progress_handler(None)
    return found


class NotAStore(Exception):
    """The file is something else, or damaged."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} cannot be used as a store: {self.reason}; name another data directory, or restore it."


class NewerStore(Exception):
    """The file was written by a newer Colonnade."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(path, version, known)
        self.path, self.version, self.known = path, version, known

    def __str__(self) -> str:
        return f"{self.path} has schema version {self.version}, this code knows {self.known}; use the newer Colonnade."


async def open_sqlite_store(path: Path, world: World, *, read_only: bool = False) -> "SqliteStore":
    """Open the store at `path`, and make it unless `read_only`.

    Raises `NotAStore`, `NewerStore`, or `FileNotFoundError` for a missing file that may only be read.
    """
    if read_only and not path.exists():
        raise FileNotFoundError(f"There is no store at {path}.")
    try:
        if not read_only:
            _create(path, world)
        return SqliteStore(path, world, read_only=read_only)
    except (apsw.Error, OSError) as error:
        raise NotAStore(path, str(error)) from error


def _create(path: Path, world: World) -> None:
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("history", world.ids.new().bytes), ("partitions", PARTITIONS)],
            )
        connection.execute("COMMIT")
        os.chmod(path, 0o600)
    finally:
        connection.close()


def _connect(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=200)
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    add_decimals(connection)
    return connection


class SqliteStore:
    """All of a service's durable state. Short reads run on the loop, where they cost less than a thread's hand-over."""

    def __init__(self, path: Path, world: World, *, read_only: bool) -> None:
        self.path = path
        self._world = world
        reading = apsw.SQLITE_OPEN_READONLY
        self._reader = _connect(path, reading)
        if self._reader.execute("PRAGMA application_id").get != APPLICATION_ID:
            raise NotAStore(path, "it was not made by Colonnade")
        version = self._reader.execute("PRAGMA user_version").get
        if version > SCHEMA_VERSION:
            raise NewerStore(path, version, SCHEMA_VERSION)
        meta = dict(self._reader.execute("SELECT key, value FROM meta"))
        self.history = UUID(bytes=meta["history"])
        self.partitions: int = meta["partitions"]
        self.log = SqliteLog(self._reader)
        self.outbox = SqliteOutbox(self._reader)
        self.inbox = SqliteInbox(self._reader)
        self.timers = SqliteTimers(self._reader)
        self._listeners: list[Callable[[Touched], None]] = []
        self.dialect: Dialect = sqlite_dialect()
        self._snapshots: Executor | None = None
        self._writer: apsw.Connection | None = None
        if not read_only:
            self._writer = _connect(path, apsw.SQLITE_OPEN_READWRITE)
            self._writer.execute("PRAGMA synchronous = FULL")
            self._writer.wal_autocheckpoint(_CHECKPOINT_PAGES)
            self._executor = ThreadExecutor(f"store {path.stem}")
            writer = SqliteWriter(self._writer, str(path), self.partitions)
            self._coalescer = Coalescer(self._executor, writer, self._notify)
            self.leases = SqliteLeases(self._writer, self._coalescer, world)

    async def commit(self, unit: Unit) -> Committed:
        """Commit all effects of `unit`, or none."""
        return await self._coalescer.commit(unit)

    def watch(self, listener: Callable[[Touched], None]) -> None:
        """Call `listener` after every batch of commits with what the batch added to."""
        self._listeners.append(listener)

    def _notify(self, touched: Touched) -> None:
        for listener in self._listeners:
            listener(touched)

    async def define(self, statements: Sequence[str]) -> None:
        """Run statements that change the read models' schema, all or none."""
        writer = self._writer
        assert writer is not None

        def run() -> None:
            with writer:
                for statement in statements:
                    writer.execute(statement)

        await self._failing(run)

    async def prune(self, now: int, limit: int) -> int:
        """Delete up to `limit` relayed messages and as many expired answers; how many rows went."""
        writer = self._writer
        assert writer is not None

        def run() -> int:
            before = writer.total_changes()
            with writer:
                # A message is kept until all before it are gone as well: the relay reads on from the least mark
                writer.execute(
                    "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox ORDER BY seq LIMIT ?) AND seq <= "
                    "coalesce((SELECT seq FROM relayed WHERE relayed.topic = outbox.topic "
                    "AND relayed.partition = outbox.partition), 0)",
                    (limit,),
                )
                writer.execute(
                    "DELETE FROM answers WHERE scope IN (SELECT scope FROM answers WHERE expires <= ? LIMIT ?)",
                    (now, limit),
                )
            return writer.total_changes() - before

        return await self._failing(run)

    async def _failing(self, run: Callable[[], R]) -> R:
        try:
            return await self._coalescer.exclusively(run)
        except apsw.Error as error:
            raise StoreFailed(str(self.path), f"{type(error).__name__}: {error}") from error

    async def snapshot(self, read: Callable[[Any], R]) -> R:
        """Run `read` in a reading thread, on one consistent state of the database."""
        if self._snapshots is None:
            self._snapshots = ThreadExecutor(f"queries {self.path.stem}")
            self._queries = _connect(self.path, apsw.SQLITE_OPEN_READONLY)
        connection = self._queries

        def run() -> R:
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                connection.execute("COMMIT")

        return await self._snapshots.submit(run)

    async def query(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """The rows of each of `statements`, all read in one snapshot by a thread of its own."""
        given_up = Event()
        try:
            return await self.snapshot(lambda connection: rows_of(connection, statements, given_up.is_set))
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def checkpoint(self, projection: str) -> int:
        """The log position up to which a projection has been written."""
        position = self._reader.execute("SELECT position FROM checkpoints WHERE projection = ?", (projection,)).get
        return position or 0

    async def answer(self, scope: str) -> StoredAnswer | None:
        """The answer kept for an idempotent request."""
        return answer_of(self._reader, scope)

    async def deferral(self, key: str) -> Deferral | None:
        """Who waits under `key`."""
        return deferral_of(self._reader, key)

    async def close(self) -> None:
        """Finish what is being committed and close the file."""
        if self._snapshots is not None:
            await self._snapshots.close()
            self._queries.close()
            self._snapshots = None
        if self._writer is not None:
            await self._coalescer.drain()
            await self._executor.close()
            self._writer.close()
            self._writer = None
        self._reader.close()


class SqliteLeases:
    """Leases as rows. One process owns the file, so that the world's clock is the database's."""

    def __init__(self, connection: apsw.Connection, coalescer: Coalescer, world: World) -> None:
        self._connection = connection
        self._coalescer = coalescer
        self._world = world

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take or renew the lease; None while another owner's has not expired."""
        now = self._world.clock.micros()
        expires = now + int(seconds * 1_000_000)

        def run() -> Lease | None:
            epoch = self._connection.execute(
                "INSERT INTO leases VALUES (?1, ?2, 1, ?3) ON CONFLICT (name) DO UPDATE "
                "SET epoch = epoch + (owner <> ?2), owner = ?2, expires = ?3 WHERE owner = ?2 OR expires <= ?4 "
                "RETURNING epoch",
                (name, owner, expires, now),
            ).fetchall()
            return Lease(name, owner, cast(int, epoch[0][0]), expires) if epoch else None

        return await self._coalescer.exclusively(run)

    async def release(self, lease: Lease) -> None:
        """Give the lease up, if it is still held; the next owner's epoch is a new one."""

        def run() -> None:
            self._connection.execute(
                "UPDATE leases SET expires = 0, owner = '' WHERE name = ? AND epoch = ?", (lease.name, lease.epoch)
            )

        await self._coalescer.exclusively(run)

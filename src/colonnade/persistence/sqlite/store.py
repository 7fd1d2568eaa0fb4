"""A service's store in one SQLite file, written by one process."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from typing import Any, cast
from uuid import UUID

import apsw
from sqlalchemy.engine.interfaces import Dialect

from colonnade.observability.health import HealthState
from colonnade.persistence.coalescing import Coalescer, Written
from colonnade.persistence.executor import ThreadExecutor
from colonnade.persistence.failures import StoreClosed, StoredAnswer, StoreFailed
from colonnade.persistence.slots import slot_of
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.sqlite.leases import SqliteLeases
from colonnade.persistence.sqlite.log import SqliteLog
from colonnade.persistence.sqlite.losses import SqliteLosses
from colonnade.persistence.sqlite.opening import (
    NotAStore,
    connect_beside,
    connect_to_read,
    connect_to_write,
    make_store,
    meta_of,
)
from colonnade.persistence.sqlite.outbox import SqliteOutbox
from colonnade.persistence.sqlite.pruning import prune_page
from colonnade.persistence.sqlite.queries import ShortQueries, SqliteQueries, rows_of
from colonnade.persistence.sqlite.rows import (
    Pages,
    SqliteInbox,
    SqliteTimers,
    answers_of,
    deferrals_of,
)
from colonnade.persistence.sqlite.transactions import Transactions, failed
from colonnade.persistence.sqlite.versions import SqliteVersions
from colonnade.persistence.sqlite.writer import SqliteWriter
from colonnade.persistence.store import Committed, Deferral, Replica, Touched
from colonnade.persistence.unit import Unit
from colonnade.world import World

__all__ = ["ReadOnlyStore", "SqliteStore", "open_sqlite_store"]


class ReadOnlyStore(StoreFailed):
    """The store was opened only to be read."""

    def __init__(self, store: str) -> None:
        super().__init__(store, "it was opened only to be read; open it for writing, or ask the process that has it")


async def open_sqlite_store(path: Path, world: World, *, read_only: bool = False) -> "SqliteStore":
    """Open the store at `path`, and make it unless `read_only`.

    Raises `NotAStore`, `NewerStore`, or `FileNotFoundError` for a missing file that may only be read. A store that is
    written by another process can be read beside it.
    """
    try:
        missing = not path.exists()
        if missing and read_only:
            raise FileNotFoundError(f"There is no store at {path}.")
        if missing:
            make_store(path, world)
    except FileNotFoundError:
        if read_only:
            raise
        raise NotAStore(path, "its directory is missing") from None
    except OSError as error:
        raise NotAStore(path, error.strerror or str(error)) from error
    with ExitStack() as opened:
        # First, since it finds what a crash has left, which a connection that only reads could not put right
        writing = None if read_only else opened.enter_context(closing(connect_to_write(path)))
        reading = opened.enter_context(closing(connect_beside(path) if read_only else connect_to_read(path)))
        try:
            store = SqliteStore(path, world, reading, writing)
        except apsw.Error as error:
            raise NotAStore(path, str(error)) from error
        opened.pop_all()
    return store


class SqliteStore:
    """All of a service's durable state. Short reads run on the loop, where they cost less than a thread's hand-over."""

    def __init__(self, path: Path, world: World, reading: apsw.Connection, writing: apsw.Connection | None) -> None:
        self.path = path
        self._reader = reading
        meta = meta_of(reading)
        self.history = UUID(bytes=meta["history"])
        # A copy of a file cannot be told from it
        self.ended: Mapping[UUID, int] = {}
        self.partitions: int = meta["partitions"]
        self.has_server = False
        # Nobody shares the lines of a file in production: a column and an index would be paid for nothing
        reading.create_scalar_function("slot_of", cast(Any, slot_of), 1, deterministic=True)
        pages = self._pages = Pages(self._reader, path)
        self.log = SqliteLog(pages)
        self.timers = SqliteTimers(pages)
        self.losses = SqliteLosses(pages)
        self.dialect: Dialect = sqlite_dialect()
        self._short_queries = ShortQueries(self._reader)
        self._queries = SqliteQueries(path)
        self.outbox = SqliteOutbox(pages, self._queries)
        self._listeners: list[Callable[[Touched], None]] = []
        self._closed = False
        self._transactions: Transactions | None = None
        self._leases: SqliteLeases | None = None
        if writing is None:
            self.inbox = SqliteInbox(pages, None)
            return
        transactions = self._transactions = Transactions(writing, path, ThreadExecutor(f"store {path.stem}"))
        writer = SqliteWriter(transactions, self.partitions)
        self.inbox = SqliteInbox(pages, writer.inbox)
        self._leases = SqliteLeases(transactions, world, self._notify)
        self._versions = SqliteVersions(transactions)
        self._coalescer = Coalescer(writer.write, self._written)

    @property
    def replica(self) -> Replica | None:
        """There is none of a file."""
        return None

    def health(self, service: str) -> Sequence[HealthState]:
        """Nothing hinders it that is not raised."""
        return ()

    @property
    def leases(self) -> SqliteLeases:
        """Who does what alone; raises `ReadOnlyStore`."""
        if self._leases is None:
            raise ReadOnlyStore(str(self.path))
        return self._leases

    @property
    def versions(self) -> SqliteVersions:
        """Which code may use the tables; raises `ReadOnlyStore`."""
        if self._transactions is None:
            raise ReadOnlyStore(str(self.path))
        return self._versions

    async def commit(self, unit: Unit) -> Committed:
        """Commit all effects of `unit`, or none."""
        if self._transactions is None:
            raise ReadOnlyStore(str(self.path))
        return await self._coalescer.commit(unit)

    def watch(self, listener: Callable[[Touched], None]) -> None:
        """Call `listener` after every batch of commits with what the batch added to."""
        self._listeners.append(listener)

    def _written(self, written: Written) -> None:
        self._notify(written.touched)
        if written.armed is not None:
            self.timers.armed(written.armed)

    def _notify(self, touched: Touched) -> None:
        for listener in self._listeners:
            try:
                listener(touched)
            except Exception as error:  # it is the listener's, and the others must hear
                context = {"message": f"A watcher of the store {self.path} failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    async def define(self, statements: Sequence[str]) -> None:
        """Run statements that change the read models' schema, all or none."""
        transactions = self._writing()
        execute = transactions.connection.execute

        def run() -> None:
            for statement in statements:
                execute(statement)

        await transactions.run(run, aside=True)

    async def prune(self, messages: Sequence[int], now: int, limit: int) -> int:
        """Delete these messages, and up to `limit` answers that expired at `now`; how many answers went."""
        transactions = self._writing()
        connection = transactions.connection
        return await transactions.run(lambda: prune_page(connection, messages, now, limit))

    def _writing(self) -> Transactions:
        if self._transactions is None:
            raise ReadOnlyStore(str(self.path))
        if self._closed:
            raise StoreClosed
        return self._transactions

    async def query(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """The rows of each of `statements`, all read in one snapshot; by a thread of its own when that takes long."""
        if self._closed:
            raise StoreClosed
        try:
            rows = await self._short_queries.rows(statements)
        except apsw.Error as error:
            raise failed(self.path, error) from error
        if rows is not None:
            return rows
        given_up = Event()
        try:
            return await self._queries.run(lambda connection: rows_of(connection, statements, given_up.is_set))
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def checkpoint(self, projection: str) -> int:
        """The log position up to which a projection has been written."""
        position: int | None = self._pages.value("SELECT position FROM checkpoints WHERE projection = ?", (projection,))
        return position or 0

    async def answers(self, *scopes: str) -> Mapping[str, StoredAnswer]:
        """The answers kept for idempotent requests, by scope."""
        return answers_of(self._pages, scopes)

    async def deferrals(self, key: str) -> Sequence[Deferral]:
        """All who wait under `key`, in the order of `reply_to` and `reply_key`."""
        return deferrals_of(self._pages, key)

    async def close(self) -> None:
        """Finish what is being committed and close the file; again, where a first call was cancelled."""
        self._closed = True
        await self._queries.close()
        if self._transactions is not None:
            await self._coalescer.close()
        # The writer last: it brings the log home into the file
        self._reader.close()
        if self._transactions is not None:
            await self._transactions.close()

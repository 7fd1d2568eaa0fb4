"""Long reads: in threads of their own, each with a connection that only reads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from colonnade.persistence.executor import Executor, ThreadExecutor
from colonnade.persistence.sqlite.opening import connect_to_read
from colonnade.persistence.sqlite.transactions import failed
from colonnade.persistence.store import QueryFailed, StoreClosed

__all__ = ["SqliteQueries", "rows_of"]

R = TypeVar("R")

THREADS = 3
"""So many queries run at the same time, so that a slow one does not hold up all others."""


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


class _Thread:
    def __init__(self, path: Path, number: int) -> None:
        self.connection = connect_to_read(path)
        self.executor: Executor = ThreadExecutor(f"queries {path.stem} {number}")
        self.running = 0


class SqliteQueries:
    """Runs functions on consistent states of the database. Threads come when they are first needed, and stay."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads: list[_Thread] = []
        self._closed = False

    async def run(self, read: Callable[[Any], R], *, one_statement: bool = False) -> R:
        """What `read` makes of a connection in a read transaction; raises `StoreFailed`, `StoreClosed`.

        `one_statement` says that it runs no more than one, which sees one state by itself.
        """
        if self._closed:
            raise StoreClosed
        thread = self._least_busy()
        connection = thread.connection

        def in_snapshot() -> R:
            if one_statement:
                return read(connection)
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                connection.execute("ROLLBACK")

        thread.running += 1
        try:
            return await thread.executor.submit(in_snapshot)
        except apsw.Error as error:
            raise failed(self._path, error) from error
        finally:
            thread.running -= 1

    async def close(self) -> None:
        """Let the queries at hand end, and the threads."""
        self._closed = True
        for thread in self._threads:
            await thread.executor.close()
            thread.connection.close()
        self._threads.clear()

    def _least_busy(self) -> _Thread:
        idle = min(self._threads, key=lambda thread: thread.running, default=None)
        if idle is None or (idle.running and len(self._threads) < THREADS):
            idle = _Thread(self._path, len(self._threads) + 1)
            self._threads.append(idle)
        return idle

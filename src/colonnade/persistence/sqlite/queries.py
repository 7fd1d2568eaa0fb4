"""Queries: short ones where they are asked, long ones in threads, each with a connection that only reads."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import apsw

from colonnade.persistence.executor import Executor, ThreadExecutor
from colonnade.persistence.failures import QueryFailed, StoreClosed
from colonnade.persistence.sqlite.opening import connect_to_read
from colonnade.persistence.sqlite.transactions import failed

__all__ = ["ShortQueries", "SqliteQueries", "rows_of"]

R = TypeVar("R")

THREADS = 3
"""So many queries run at the same time, so that a slow one does not hold up all others."""


# What is wrong with a statement or its values, as opposed to the database
_FAULTS = (apsw.SQLError, apsw.BindingsError, apsw.ReadOnlyError, TypeError, ValueError, OverflowError)

_STEPS_BETWEEN_LOOKS = 10_000
"""After how many steps of SQLite's machine a query looks whether anybody still waits for it: under a millisecond."""


_SHORT_STEPS = 1_000
_SHORT_LOOKS = 4
"""So many thousand steps of SQLite's machine, a fifth of a millisecond, cost less than two hand-overs to and from a
thread. SQLite counts the steps of a compiled statement over all of its runs: the first look may come at once."""

_LONG_KEPT = 500

_IN_A_TURN = 4
"""So many queries are answered in one turn of the loop, so that who asks again and again holds up nobody."""


def rows_of(
    connection: apsw.Connection,
    statements: Sequence[tuple[str, Sequence[Any]]],
    given_up: Callable[[], bool],
    steps: int = _STEPS_BETWEEN_LOOKS,
) -> list[list[tuple[Any, ...]]]:
    """The rows of each of `statements`; raises `QueryFailed`. It breaks off when `given_up`, asked every `steps`."""
    found: list[list[tuple[Any, ...]]] = []
    connection.set_progress_handler(given_up, steps)
    try:
        for sql, parameters in statements:
            try:
                found.append(connection.execute(sql, parameters).fetchall())
            except _FAULTS as error:
                raise QueryFailed(sql, str(error)) from error
    finally:
        connection.set_progress_handler(None)
    return found


class _Turn:
    """Awaited, it lets everybody else have a turn of the loop."""

    def __await__(self) -> Generator[None]:
        yield


class ShortQueries:
    """Runs queries on the event loop, as far as they are short."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._long: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._in_this_turn = 0

    async def rows(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]] | None:
        """The rows of each of `statements`, from one state; None when they take long. Raises `QueryFailed`."""
        if not self._in_this_turn:
            self._loop.call_soon(self._turned)
        self._in_this_turn += 1
        if self._in_this_turn > _IN_A_TURN:
            await _Turn()
        return self._answered(statements)

    def _turned(self) -> None:
        self._in_this_turn = 0

    def _answered(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]] | None:
        for sql, _ in statements:
            if sql in self._long:
                return None
        execute = self._connection.execute
        if len(statements) == 1:  # it sees one state by itself
            return self._rows(statements)
        execute("BEGIN")
        try:
            return self._rows(statements)
        finally:
            execute("ROLLBACK")

    def _rows(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]] | None:
        try:
            looks = count(1)
            return rows_of(self._connection, statements, lambda: next(looks) > _SHORT_LOOKS, _SHORT_STEPS)
        except apsw.InterruptError:
            if len(self._long) >= _LONG_KEPT:
                self._long.clear()
            self._long.update(sql for sql, _ in statements)
            return None


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

    async def run(self, read: Callable[[Any], R]) -> R:
        """What `read` makes of a connection in a read transaction; raises `StoreFailed`, `StoreClosed`."""
        if self._closed:
            raise StoreClosed
        thread = self._least_busy()
        connection = thread.connection

        def in_snapshot() -> R:
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

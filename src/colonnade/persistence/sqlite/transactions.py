"""The write transactions of a SQLite store: one at a time, and only their commit leaves the event loop."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from colonnade.persistence.executor import Executor
from colonnade.persistence.failures import StoreClosed, StoreFailed, WriteFailed

__all__ = ["DRIVER_ERRORS", "Transactions", "failed"]

R = TypeVar("R")

_REFUSALS = (
    apsw.BindingsError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.SQLError,
    apsw.TooBigError,
    # A value that no column can hold, found before the database sees it: text that has no encoding, a number too large
    TypeError,
    ValueError,
    OverflowError,
)

DRIVER_ERRORS = (apsw.Error, *_REFUSALS)
"""What a statement raises."""


def failed(path: Path, error: Exception) -> StoreFailed | StoreClosed:
    """One of `DRIVER_ERRORS` as the port names it: the fault of what was written, or the database's."""
    if isinstance(error, apsw.ConnectionClosedError):
        return StoreClosed()
    kind = WriteFailed if isinstance(error, _REFUSALS) else StoreFailed
    return kind(str(path), f"{type(error).__name__}: {error}")


class Transactions:
    """Owns the writing connection.

    Statements run where they are asked for, on the event loop: each takes microseconds, but in another thread each
    would wait for the interpreter's lock as long as the loop is busy, 5 ms a statement. Only the commit, which waits
    for the disk outside of that lock, runs in the executor.
    """

    def __init__(self, connection: apsw.Connection, path: Path, executor: Executor) -> None:
        self.connection = connection
        self.path = path
        self._executor = executor
        self._turn = asyncio.Lock()
        self._rolled_back: Callable[[], None] | None = None
        self._closed = False

    def when_rolled_back(self, forget: Callable[[], None]) -> None:
        """Call `forget` when a transaction comes to nothing."""
        self._rolled_back = forget

    async def run(self, work: Callable[[], R], *, aside: bool = False) -> R:
        """Commit what `work` does, all or nothing, though the caller be cancelled; `aside` for what takes long.

        Raises what `work` raises, a driver's error as `WriteFailed` or `StoreFailed`; `StoreClosed`.
        """
        return await asyncio.shield(asyncio.ensure_future(self.run_uncancelled(work, aside=aside)))

    async def run_uncancelled(self, work: Callable[[], R], *, aside: bool = False) -> R:
        """The same, in a task that nobody cancels."""
        async with self._turn:
            if self._closed:
                raise StoreClosed
            run = self.connection.execute
            try:
                run("BEGIN IMMEDIATE")
                result = await self._executor.submit(work) if aside else work()
                await self._executor.submit(self._commit)
            except Exception as error:
                self._roll_back()
                if isinstance(error, DRIVER_ERRORS):
                    raise failed(self.path, error) from error
                raise
            return result

    async def alone(self, work: Callable[[apsw.Connection], R]) -> R:
        """What `work` does in transactions of its own, which may take long, while nobody else writes.

        Raises as `run` does; it goes on though the caller be cancelled.
        """
        return await asyncio.shield(asyncio.ensure_future(self._alone(work)))

    async def _alone(self, work: Callable[[apsw.Connection], R]) -> R:
        async with self._turn:
            if self._closed:
                raise StoreClosed
            try:
                return await self._executor.submit(lambda: work(self.connection))
            except DRIVER_ERRORS as error:
                raise failed(self.path, error) from error

    async def close(self) -> None:
        """Close the file when the transaction at hand, if any, is done."""
        async with self._turn:
            self._closed = True
            await self._executor.close()
            self.connection.close()

    def _commit(self) -> None:
        self.connection.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._rolled_back is not None:
            self._rolled_back()
        if self.connection.in_transaction:  # some failures have rolled back already
            self.connection.execute("ROLLBACK")

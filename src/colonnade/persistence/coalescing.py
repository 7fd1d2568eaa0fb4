"""Group commit: units of work that wait at the same time are committed together (DeWitt et al., 1984)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from colonnade.persistence.failures import StoreClosed
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Unit

__all__ = ["BATCH_UNITS", "Coalescer", "Written"]

BATCH_UNITS = 128
"""The most units in one transaction, so that none waits long for the others."""


class Written:
    """What became of the units of one batch, in their order, and what the batch added to.

    `armed` is the earliest moment (microseconds) of the timers that it armed, where it armed some.
    """

    __slots__ = ("armed", "results", "touched")

    def __init__(self, results: Sequence[Committed | Exception], touched: Touched, armed: int | None = None) -> None:
        self.results = results
        self.touched = touched
        self.armed = armed


class Coalescer:
    """Seals all waiting units into a batch whenever the writer is free.

    A unit that loses is answered with its conflict; the others of its batch are committed. Cancelling one who waits
    changes nothing for the batch.
    """

    def __init__(
        self, write: Callable[[Sequence[Unit]], Awaitable[Written]], listen: Callable[[Written], None]
    ) -> None:
        self._write = write
        self._listen = listen
        self._waiting: deque[tuple[Unit, asyncio.Future[Committed]]] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def commit(self, unit: Unit) -> "asyncio.Future[Committed]":
        """Commit `unit` with whatever else is waiting; raises `StoreClosed` after `close`."""
        if self._closed:
            raise StoreClosed
        done: asyncio.Future[Committed] = self._loop.create_future()
        self._waiting.append((unit, done))
        if self._writing is None:
            # Begins when this turn of the loop is over, so that all who are about to commit go together
            self._writing = self._loop.create_task(self._write_waiting())
        return done

    @property
    def is_writing(self) -> bool:
        """Whether a batch is under way."""
        return self._writing is not None

    async def close(self) -> None:
        """Take no more units, and return when those taken are committed."""
        self._closed = True
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_UNITS))]
                try:
                    written = await self._write([unit for unit, _ in batch])
                except Exception as error:
                    _fail(batch, error)
                    continue
                _answer(batch, written.results)
                if written.touched:
                    # In a turn of its own: a listener that fails takes no batch down
                    self._loop.call_soon(self._listen, written)
        finally:
            self._writing = None


def _answer(
    batch: Sequence[tuple[Unit, "asyncio.Future[Committed]"]], results: Sequence[Committed | Exception]
) -> None:
    for (_, done), result in zip(batch, results, strict=True):
        if done.done():  # its caller was cancelled
            continue
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)


def _fail(batch: Sequence[tuple[Unit, "asyncio.Future[Committed]"]], error: Exception) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)

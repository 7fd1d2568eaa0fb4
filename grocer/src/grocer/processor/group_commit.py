"""One thread that writes to SQLite and commits once for all who wait."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import apsw

__all__ = ["GroupCommit"]

T = TypeVar("T")

_BATCH = 256
"""At most so many pieces of work share a transaction."""


class _Waiting(NamedTuple):
    work: Callable[[apsw.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    waiting: _Waiting
    result: Any
    error: BaseException | None


class GroupCommit:
    """Runs pieces of work on a connection in the order of their arrival, several in one transaction.

    A piece that raises one of `answers` must have written nothing: it alone gets the exception. Any other exception
    undoes the whole transaction and reaches everyone in it.
    """

    def __init__(self, connection: apsw.Connection, answers: type[Exception]) -> None:
        self._connection = connection
        self._answers = answers
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="group-commit")
        self._thread.start()

    async def submit(self, work: Callable[[apsw.Connection], T]) -> T:
        """The result of `work`, once it is committed; cancelling the caller does not cancel the work."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Waiting(work, loop, future))
        return await future

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            closing = False
            with suppress(Empty):
                while len(batch) < _BATCH and not closing:
                    if (another := self._queue.get_nowait()) is None:
                        closing = True
                    else:
                        batch.append(another)
            done = self._commit(batch)
            with suppress(RuntimeError):  # the loop of those who waited is closed: nobody is left to be told
                first.loop.call_soon_threadsafe(_deliver, done)
            if closing:
                return

    def _commit(self, batch: list[_Waiting]) -> list[_Done]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            done = [self._attempt(waiting) for waiting in batch]
            self._connection.execute("COMMIT")
        except Exception as error:
            if not self._connection.get_autocommit():
                self._connection.execute("ROLLBACK")
            return [_Done(waiting, None, error) for waiting in batch]
        return done

    def _attempt(self, waiting: _Waiting) -> _Done:
        try:
            return _Done(waiting, waiting.work(self._connection), None)
        except self._answers as answer:
            return _Done(waiting, None, answer)


def _deliver(done: list[_Done]) -> None:
    for (_, _, future), result, error in done:
        if future.done():  # its caller was cancelled
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

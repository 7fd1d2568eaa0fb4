"""Where blocking work runs: a thread in production, a task in simulation."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

__all__ = ["Executor", "ThreadExecutor"]

R = TypeVar("R")


class Executor(Protocol):
    """Runs blocking functions, one at a time, in the order in which they come."""

    def submit(self, work: Callable[[], R]) -> "asyncio.Future[R]":
        """Run `work`; the future is done on the event loop. Cancelling it does not stop the work."""

    async def close(self) -> None:
        """Return when all that was submitted has run; nothing may be submitted any more."""


class ThreadExecutor:
    """One thread of its own, from the first call on: cheaper a call than a pool, and alone with what it touches."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def submit(self, work: Callable[[], R]) -> "asyncio.Future[R]":
        """Run `work` in the thread; raises RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError(f"The thread {self._thread.name} has ended; nothing can run in it any more.")
        if not self._started:
            self._started = True
            self._thread.start()
        done: asyncio.Future[R] = self._loop.create_future()
        self._queue.put((done, work))
        return done

    async def close(self) -> None:
        """Run what is queued, then end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        if self._started:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            done, work = job
            try:
                result = work()
            except BaseException as error:
                self._loop.call_soon_threadsafe(_fail, done, error)
            else:
                self._loop.call_soon_threadsafe(_succeed, done, result)


def _succeed(done: "asyncio.Future[R]", result: R) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)

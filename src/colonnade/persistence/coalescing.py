"""Group commit: units of work that wait at the same time are committed together (DeWitt et al., 1984)."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from colonnade.persistence.executor import Executor
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Unit

__all__ = ["BATCH_UNITS", "Applied", "BatchFailed", "Coalescer", "GroupWriter"]

R = TypeVar("R")

BATCH_UNITS = 128
"""The most units in one transaction, so that none waits long for the others."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the units of one batch, in their order, and what the batch adds to once it is committed."""

    results: Sequence[Committed | Exception]
    touched: Touched


class BatchFailed(Exception):
    """One unit's statement failed and took the transaction with it; `cause` is what went wrong."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"The transaction was rolled back: {self.cause}"


class GroupWriter(Protocol):
    """Writes batches, each in two steps: its statements, then the commit that makes them durable."""

    def apply(self, batch: Sequence[Unit]) -> Applied:
        """Open a transaction with all units that lose against nobody; raises `BatchFailed` after rolling back."""

    def commit(self) -> None:
        """Make the open transaction durable; raises after rolling back."""


@dataclass(slots=True)
class _Waiting:
    unit: Unit
    done: "asyncio.Future[Committed]"
    alone: bool = False


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    done: "asyncio.Future[Any]"


class Coalescer:
    """Seals all waiting units into a batch whenever the writer is free.

    Statements run on the loop, for they cost less there than the hand-over of each to a thread that competes for the
    interpreter; only the commit, which waits for the disk, runs in the executor. A unit that loses is answered with
    its conflict, the others of its batch are committed. Cancelling one who waits changes nothing for the batch.
    """

    def __init__(self, executor: Executor, writer: GroupWriter, listen: Callable[[Touched], None]) -> None:
        self._executor = executor
        self._writer = writer
        self._listen = listen
        self._waiting: deque[_Waiting | _Job] = deque()
        self._busy: asyncio.Future[Any] | None = None
        self._sealing = False
        self._loop = asyncio.get_running_loop()

    async def commit(self, unit: Unit) -> Committed:
        """Commit `unit` with whatever else is waiting."""
        done: asyncio.Future[Committed] = self._loop.create_future()
        self._enter(_Waiting(unit, done))
        return await done

    async def exclusively(self, work: Callable[[], R]) -> R:
        """Run `work` in the executor, in its turn, while nothing else is being written."""
        done: asyncio.Future[R] = self._loop.create_future()
        self._enter(_Job(work, done))
        return await done

    async def drain(self) -> None:
        """Return when nothing waits and nothing is being written."""
        while self._waiting or self._busy is not None or self._sealing:
            if self._busy is not None:
                await asyncio.wait([self._busy])
            await asyncio.sleep(0)  # noqa: TID251 - yields, waits for nothing

    def _enter(self, entry: _Waiting | _Job) -> None:
        self._waiting.append(entry)
        if self._busy is None and not self._sealing:
            # Sealed at the end of this turn of the loop, so that all who are about to commit go together
            self._sealing = True
            self._loop.call_soon(self._seal)

    def _seal(self) -> None:
        self._sealing = False
        while self._waiting and self._busy is None:
            first = self._waiting[0]
            if isinstance(first, _Job):
                self._waiting.popleft()
                self._start(self._executor.submit(first.work), partial(_settle, first.done))
            else:
                self._write(self._sealed())

    def _sealed(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < BATCH_UNITS:
            entry = self._waiting[0]
            if isinstance(entry, _Job) or (entry.alone and batch):
                break
            self._waiting.popleft()
            batch.append(entry)
            if entry.alone:
                break
        return batch

    def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            applied = self._writer.apply([entry.unit for entry in batch])
        except BatchFailed as failed:
            if len(batch) == 1:
                _fail(batch[0].done, failed.cause)
                return
            # Each gets a transaction of its own, in its turn, so that the failing one harms no other
            for entry in reversed(batch):
                entry.alone = True
                self._waiting.appendleft(entry)
            return
        self._start(
            self._executor.submit(self._writer.commit), lambda committed: self._answer(batch, applied, committed)
        )

    def _start(self, busy: "asyncio.Future[Any]", then: "Callable[[asyncio.Future[Any]], None]") -> None:
        self._busy = busy

        def ended(ran: "asyncio.Future[Any]") -> None:
            self._busy = None
            then(ran)
            self._seal()

        busy.add_done_callback(ended)

    def _answer(self, batch: Sequence[_Waiting], applied: Applied, committed: "asyncio.Future[None]") -> None:
        error = committed.exception()
        for entry, result in zip(batch, applied.results, strict=True):
            if error is not None:
                _fail(entry.done, error)
            elif isinstance(result, Exception):
                _fail(entry.done, result)
            elif not entry.done.done():
                entry.done.set_result(result)
        if error is None and applied.touched:
            self._listen(applied.touched)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _settle(done: "asyncio.Future[Any]", ran: "asyncio.Future[Any]") -> None:
    error = ran.exception()
    if error is not None:
        _fail(done, error)
    elif not done.done():
        done.set_result(ran.result())

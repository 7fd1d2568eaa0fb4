"""Group commit: units of work that wait at the same time are committed together (DeWitt et al., 1984)."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from colonnade.persistence.executor import Executor
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Unit

__all__ = ["BATCH_UNITS", "Coalescer", "Written"]

BATCH_UNITS = 256
"""The most units in one transaction, so that none waits long for the others."""


class Written:
    """What became of the units of one batch, in their order, and what the batch added to."""

    __slots__ = ("results", "touched")

    def __init__(self, results: Sequence[Committed | Exception], touched: Touched) -> None:
        self.results = results
        self.touched = touched


class Coalescer:
    """Seals all waiting units into a batch whenever the writer is free.

    A unit that loses is answered with its conflict; the others of its batch are committed. Cancelling one who waits
    changes nothing for the batch.
    """

    def __init__(
        self,
        executor: Executor,
        write: Callable[[Sequence[Unit]], Written],
        listen: Callable[[Touched], None],
    ) -> None:
        self._executor = executor
        self._write = write
        self._listen = listen
        self._waiting: deque[tuple[Unit, asyncio.Future[Committed]]] = deque()
        self._writing: asyncio.Future[Written] | None = None
        self._sealing = False
        self._loop = asyncio.get_running_loop()

    async def commit(self, unit: Unit) -> Committed:
        """Commit `unit` with whatever else is waiting."""
        done: asyncio.Future[Committed] = self._loop.create_future()
        self._waiting.append((unit, done))
        if self._writing is None and not self._sealing:
            # Sealed at the end of this turn of the loop, so that all who are about to commit go together
            self._sealing = True
            self._loop.call_soon(self._seal)
        return await done

    async def drain(self) -> None:
        """Return when nothing waits and nothing is being written."""
        while self._waiting or self._writing is not None or self._sealing:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # noqa: TID251 - yields, waits for nothing

    def _seal(self) -> None:
        self._sealing = False
        if not self._waiting:
            return
        size = min(len(self._waiting), BATCH_UNITS)
        batch = [self._waiting.popleft() for _ in range(size)]
        units = [unit for unit, _ in batch]
        writing = self._writing = self._executor.submit(lambda: self._write(units))
        writing.add_done_callback(lambda written: self._answer(batch, written))

    def _answer(
        self, batch: Sequence[tuple[Unit, "asyncio.Future[Committed]"]], written: "asyncio.Future[Written]"
    ) -> None:
        self._writing = None
        self._seal()
        error = written.exception()
        if error is not None:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return
        outcome = written.result()
        for (_, done), result in zip(batch, outcome.results, strict=True):
            if done.done():
                continue
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)
        if outcome.touched:
            self._listen(outcome.touched)

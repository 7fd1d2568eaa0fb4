"""Reads that are asked for while others are under way go together in the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Together"]

Asked = TypeVar("Asked")
Found = TypeVar("Found")

READS_AT_ONCE = 2
"""How many reads are under way at the same time, at most: with more of them each would answer fewer."""

ASKERS_TOGETHER = 64
"""The most who are answered by one read."""

MANY_ASKERS = 24
"""From so many on it is worth a read more that the server has work while the answers are worked on."""


class Together(Generic[Asked, Found]):
    """Hands questions to `read`, several at a time, which answers them in their order; a failure is everybody's.

    Where many ask, no read is under way and `is_idle` says that the server has nothing else to do, they are answered in
    two halves: all at once they would be worked on while it waits, and then wait for it all at once.
    """

    def __init__(
        self,
        read: Callable[[Sequence[Asked]], Awaitable[Sequence[Found]]],
        is_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._read = read
        self._is_idle = is_idle
        self._waiting: list[tuple[Asked, asyncio.Future[Found]]] = []
        self._reading: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def ask(self, question: Asked) -> "asyncio.Future[Found]":
        """The answer, by a read that begins after this."""
        if not self._waiting:
            # When this turn of the loop is over, so that all who are about to ask go together
            self._loop.call_soon(self._begin)
        answer: asyncio.Future[Found] = self._loop.create_future()
        self._waiting.append((question, answer))
        return answer

    def _begin(self) -> None:
        while self._waiting and len(self._reading) < READS_AT_ONCE:
            asking = len(self._waiting)
            if asking >= MANY_ASKERS and not self._reading and self._is_idle():
                asking = (asking + 1) // 2
            asking = min(asking, ASKERS_TOGETHER)
            together, self._waiting = self._waiting[:asking], self._waiting[asking:]
            task = self._loop.create_task(self._answer(together))
            self._reading.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        self._begin()

    async def _answer(self, together: Sequence[tuple[Asked, "asyncio.Future[Found]"]]) -> None:
        try:
            found = await self._read([question for question, _ in together])
        except Exception as error:
            for _, answer in together:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), each in zip(together, found, strict=True):
            if not answer.done():  # who asked may have gone
                answer.set_result(each)

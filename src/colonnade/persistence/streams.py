"""Queues before streams: inside a process, commands on one aggregate wait for each other before they load it."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable

__all__ = ["StreamQueues"]


class StreamQueues:
    """One first-in-first-out queue a stream, that exists only while somebody holds or waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._announced: Counter[str] = Counter()

    def try_take(self, stream: str) -> bool:
        """Take `stream` if nobody holds it."""
        if stream in self._waiting:
            return False
        self._waiting[stream] = deque()
        return True

    async def take(self, stream: str) -> None:
        """Wait for the turn on `stream`."""
        waiting = self._waiting.get(stream)
        if waiting is None:
            self._waiting[stream] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(stream)
            else:
                waiting.remove(turn)
            raise

    def leave(self, stream: str) -> None:
        """Give the turn to the next in line."""
        waiting = self._waiting[stream]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[stream]

    def announce(self, streams: Iterable[str]) -> None:
        """Tell that these are about to begin: somebody who does not hold them is committing their first events."""
        self._announced.update(streams)

    def retract(self, streams: Iterable[str]) -> None:
        """It is decided whether they have begun."""
        for stream in streams:
            self._announced[stream] -= 1
            if not self._announced[stream]:
                del self._announced[stream]

    def is_announced(self, stream: str) -> bool:
        """Whether it is about to begin."""
        return stream in self._announced

    def __len__(self) -> int:
        return len(self._waiting)

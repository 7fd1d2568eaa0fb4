"""How a process is told to stop: by a call, or by a signal."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from colonnade.world import Clock

__all__ = ["Stop"]

ECHO_SECONDS = 0.5
"""Within this time a second signal is the echo of the first: a terminal and its tools may both hand one on."""

FORCED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Set once; `stopping` is called when it is."""

    def __init__(self, clock: Clock, stopping: Callable[[], None]) -> None:
        self._clock = clock
        self._stopping = stopping
        self._stop = asyncio.Event()
        self._first_signal_at: float | None = None

    def set(self) -> None:
        """Take no more work on, and finish what is being done."""
        if not self._stop.is_set():
            self._stop.set()
            self._stopping()

    async def wait(self) -> None:
        """Return when it has been set."""
        await self._stop.wait()

    async def unless(self, work: "asyncio.Future[Any]") -> bool:
        """Whether `work` ended before the stop; else it is cancelled. What it raised it still has."""
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
        return not work.cancelled()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let signals set it."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        now = self._clock.monotonic()
        if self._first_signal_at is None:
            self._first_signal_at = now
            self.set()
        elif now - self._first_signal_at > ECHO_SECONDS:
            # What was acknowledged is durable: leaving now is no worse than a power cut
            os._exit(FORCED)

"""Waiting until there may be something to do: a commit says so, or a moment has come."""

import asyncio

from colonnade.persistence.store import Touched
from colonnade.world import Clock

__all__ = ["LONGEST_WAIT_SECONDS", "Waking"]

LONGEST_WAIT_SECONDS = 30.0
"""How long a loop sleeps at most before it looks by itself."""


class Waking:
    """An event that commits set when they touch what a loop waits for."""

    def __init__(self, interest: Touched, clock: Clock) -> None:
        self._interest = interest
        self._clock = clock
        self._event = asyncio.Event()

    def touched(self, touched: Touched) -> None:
        """To be called after commits."""
        if touched & self._interest:
            self._event.set()

    def wake(self) -> None:
        """Let the loop look now."""
        self._event.set()

    def clear(self) -> None:
        """From here on, what is committed wakes the loop again."""
        self._event.clear()

    async def wait(self, until: int | None = None) -> bool:
        """Wait until something was touched: True; or until the moment `until` (microseconds), or a while, is over."""
        seconds = LONGEST_WAIT_SECONDS
        if until is not None:
            seconds = min(seconds, max(0.0, (until - self._clock.micros()) / 1_000_000))
        try:
            async with asyncio.timeout(seconds):
                return await self._event.wait()
        except TimeoutError:
            return False

"""Listens to what a store tells its watchers."""

import asyncio

from colonnade.persistence.store import Store, Touched

__all__ = ["Hearing"]

WITHIN_SECONDS = 20.0


class Hearing:
    """What a store was told."""

    def __init__(self, store: Store) -> None:
        self.touched = Touched(0)
        self._told = asyncio.Event()
        store.watch(self._note)

    def _note(self, touched: Touched) -> None:
        self.touched |= touched
        self._told.set()

    async def until(self, touched: Touched) -> None:
        """Wait to be told of all of these."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while self.touched & touched != touched:
                self._told.clear()
                await self._told.wait()

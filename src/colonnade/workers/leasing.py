"""Work that one instance of a service does for all: whoever holds its lease (Gray and Cheriton, 1989)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from colonnade.observability.logs import get_logger
from colonnade.persistence.failures import LeaseLost
from colonnade.persistence.store import Lease, Store, Touched
from colonnade.world import World

__all__ = ["Freed", "Leasing"]

_WAIT_SECONDS = 0.2
"""How often somebody who needs a lease to go on looks whether it is free."""

_log = get_logger()


class Freed:
    """Wakes those who wait for a lease when one was given up."""

    def __init__(self, store: Store, world: World) -> None:
        self._world = world
        self._freed = asyncio.Event()
        store.watch(self._touched)

    async def wait(self, seconds: float) -> None:
        """Wait until somebody has given something up, or `seconds` are over: who was killed gives nothing up."""
        waiting = [asyncio.ensure_future(self._world.sleep(seconds)), asyncio.ensure_future(self._freed.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            self._freed.clear()  # only now: what is given up between two looks counts

    def _touched(self, touched: Touched) -> None:
        if touched & Touched.SHARES:
            self._freed.set()


class Leasing:
    """The leases of one instance.

    A lease saves double work and keeps nobody from writing: what is written under it must be safe without it, for its
    holder may have been asleep for longer than `seconds`.
    """

    def __init__(self, store: Store, owner: str, seconds: float, world: World) -> None:
        self._leases = store.leases
        self._freed = Freed(store, world)
        self._owner = owner
        self._seconds = seconds
        self._world = world

    async def run(
        self, name: str, work: Callable[[], Awaitable[None]], meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Do `work` whenever the lease is ours, until cancelled; now and then `meanwhile` while it is another's.

        Raises, in a group, what `work` raises.
        """
        while True:
            lease = await self._leases.acquire(name, self._owner, self._seconds)
            if lease is None:
                if meanwhile is not None:
                    await meanwhile()
                await self._freed.wait(self._seconds / 3)
                continue
            try:
                async with self._renewed(lease):
                    await work()
            except* LeaseLost:
                _log.warning("lease lost", lease=name, owner=self._owner)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Wait for the lease, and hold it for the length of the block; a block that loses it is cancelled.

        Raises, in a group, `LeaseLost`, and what the block raises.
        """
        while (lease := await self._leases.acquire(name, self._owner, self._seconds)) is None:
            await self._world.sleep(_WAIT_SECONDS)
        async with self._renewed(lease):
            yield

    @asynccontextmanager
    async def _renewed(self, lease: Lease) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew(lease))
            try:
                yield
            finally:
                renewing.cancel()
                # Who comes next need not wait until it has run out
                await self._leases.release(lease)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await self._world.sleep(self._seconds / 3)
            held = await self._leases.acquire(lease.name, self._owner, self._seconds)
            if held is None or held.epoch != lease.epoch:
                raise LeaseLost(lease.name, lease.epoch)

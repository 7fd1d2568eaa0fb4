"""Work that the instances of a service divide among them: each does its fair share of the parts."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from colonnade.observability.logs import get_logger
from colonnade.persistence.store import Sharer, Store, Touched
from colonnade.workers.waking import Waking
from colonnade.world import World

__all__ = ["Sharing", "fair_share"]

ENDING_SECONDS = 5.0
"""For so long a part that is given up is kept, so that what is being done of it can end."""

WANTING_SECONDS = 0.2
"""How often one that has less than its share looks whether something is free."""

_log = get_logger()

_AtWork = Collection[asyncio.Task[None]]


class Sharing:
    """The share of one instance, held for `seconds` at a time and renewed in one statement for all its parts.

    `changed` is called with its parts whenever they change, and tells what is being done just then. A part saves double
    work and keeps nobody from writing, like a lease: what is written must be safe without it.
    """

    def __init__(
        self,
        work: str,
        parts: int,
        store: Store,
        owner: str,
        seconds: float,
        world: World,
        changed: Callable[[Collection[int]], _AtWork],
    ) -> None:
        self._work = work
        self._all = range(parts)
        self._leases = store.leases
        self._owner = owner
        self._seconds = seconds
        self._world = world
        self._changed = changed
        self._waking = Waking(Touched.SHARES, world.clock)
        store.watch(self._waking.touched)
        self._mine: Sequence[int] = ()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` and keep the share, until cancelled; raises, in a group, what `work` raises."""
        self._enter(())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep())
                await work()
        finally:
            await self._leases.leave(self._work, self._owner)

    async def _keep(self) -> None:
        while True:
            self._waking.clear()
            sharers = await self._share()
            size = fair_share(len(self._all), [each.owner for each in sharers], self._owner)
            if len(self._mine) > size:
                await self._give(self._mine[size:])
            elif len(self._mine) < size and (free := self._free(sharers)):
                await self._share(take=free[: size - len(self._mine)])
            seconds = self._seconds / 3 if len(self._mine) >= size else min(WANTING_SECONDS, self._seconds / 3)
            await self._waking.wait(self._world.clock.micros() + int(seconds * 1_000_000))

    async def _give(self, surplus: Sequence[int]) -> None:
        ending = self._enter([part for part in self._mine if part not in surplus])
        clock = self._world.clock
        until = clock.monotonic() + ENDING_SECONDS
        while ending and clock.monotonic() < until:
            _, ending = await asyncio.wait(ending, timeout=min(self._seconds / 3, ENDING_SECONDS))
            if ending:
                # Held on to meanwhile, though nothing of it is begun any more
                await self._leases.share(self._work, self._owner, self._seconds)
        await self._share(give=surplus)

    async def _share(self, take: Collection[int] = (), give: Collection[int] = ()) -> Sequence[Sharer]:
        sharers = await self._leases.share(self._work, self._owner, self._seconds, take=take, give=give)
        mine = next(each.parts for each in sharers if each.owner == self._owner)
        if lost := [part for part in self._mine if part not in mine and part not in give]:
            _log.warning("parts lost", work=self._work, owner=self._owner, parts=lost)
        if list(mine) != list(self._mine):
            self._enter(mine)
        return sharers

    def _free(self, sharers: Sequence[Sharer]) -> Sequence[int]:
        held = {part for each in sharers for part in each.parts}
        return [part for part in self._all if part not in held]

    def _enter(self, mine: Sequence[int]) -> _AtWork:
        self._mine = list(mine)
        return self._changed(self._mine)


def fair_share(parts: int, owners: Sequence[str], owner: str) -> int:
    """How many of the parts are one owner's: as many as another's, or one more for the first of them."""
    each, more = divmod(parts, len(owners))
    return each + (sorted(owners).index(owner) < more)

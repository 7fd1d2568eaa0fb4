"""The other services of the system as one that consumes their messages asks them: stores of this process, or others."""

import asyncio
from collections.abc import Mapping, Sequence

from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId
from colonnade.system.engines import Elsewhere
from colonnade.system.topology import Topology
from colonnade.workers.refetching import ChainEnd, Obstacle, Refetched, ends_of, from_outbox
from colonnade.workers.succession import Histories, histories_of

__all__ = ["Producers"]


class Producers:
    """Those of `consumer`, whose `stores` are in this process or who are `elsewhere`."""

    def __init__(
        self, consumer: str, topology: Topology, stores: Mapping[str, Store], elsewhere: Elsewhere | None
    ) -> None:
        self._topics = topology.topics(consumer)
        self._others = [service for service in topology.declared if service != consumer]
        self._stores = stores
        self._elsewhere = elsewhere

    async def refetch(self, chain: ChainId, after: int) -> Refetched:
        """What the producer of `chain` keeps beyond the seq `after`."""
        if (store := self._stores.get(chain.source)) is not None:
            return await from_outbox(store, chain, after)
        if self._elsewhere is None:
            return Refetched(obstacle=Obstacle.AWAY)
        return await self._elsewhere.refetch(chain, after)

    async def ends(self) -> Sequence[ChainEnd]:
        """How far all of them have published what the consumer takes; those that cannot be asked are left out."""
        told = await asyncio.gather(*(self._ends_of(service) for service in self._others))
        return [end for ends in told for end in ends]

    async def _ends_of(self, service: str) -> Sequence[ChainEnd]:
        if (store := self._stores.get(service)) is not None:
            return await ends_of(store, service, self._topics)
        return await self._elsewhere.ends(service, self._topics) if self._elsewhere is not None else ()

    async def histories(self, service: str) -> Histories | None:
        """Which history the store of `service` is in; None while it cannot be asked."""
        if (store := self._stores.get(service)) is not None:
            return histories_of(store)
        return await self._elsewhere.histories(service) if self._elsewhere is not None else None

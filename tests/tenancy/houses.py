"""Two tenants at work in one process; what each of them says, and what they share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from colonnade.brokers.broker import Broker
from colonnade.brokers.memory import MemoryBroker
from colonnade.caching import CacheStore, MemoryCache
from colonnade.caching.purge import PurgeQueue
from colonnade.caching.query_cache import QueryCache
from colonnade.persistence import DataDirectory
from colonnade.security.tenants import Tenant
from colonnade.system.assembly import Loop
from colonnade.system.engines import Engines, embedded_engines
from colonnade.testing.http import HttpAnswer
from colonnade.testing.running import RunningSystem, RunningTenants, running_tenants
from colonnade.world import real_world
from tests.tenancy.board import board

NOTE = UUID(int=1)
WORLD = real_world()
WITHIN_SECONDS = 20.0
ACME, BOLT = Tenant("acme"), Tenant("bolt")


@dataclass(frozen=True)
class House:
    """One tenant, who speaks through the door."""

    name: str
    all: RunningTenants

    @property
    def inside(self) -> RunningSystem:
        """The system as the tenant has it."""
        return self.all.of(self.name)

    async def get(self, target: str, **headers: str) -> HttpAnswer:
        """Ask the notes."""
        return await self.all.request("GET", f"/api/notes/{target}", headers=self._named(headers))

    async def pin(self, text: str, note: UUID = NOTE, **headers: str) -> HttpAnswer:
        """Let a note say something."""
        target = f"/api/notes/notes/{note}"
        return await self.all.request("POST", target, json={"text": text}, headers=self._named(headers))

    def _named(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return {"colonnade-tenant": self.name, **{name.replace("_", "-"): value for name, value in headers.items()}}


class Purged:
    """Stands for what keeps pages before the system, and notes what it is to forget."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    async def purge(self, keys: Collection[str]) -> None:
        """Note it."""
        self.keys.update(keys)


@dataclass(frozen=True)
class Street:
    """Both of them, what they share, and what was purged."""

    all: RunningTenants
    common: Engines
    acme: House
    bolt: House
    purged: Purged


@asynccontextmanager
async def street(
    data: Path,
    broker: Broker | None = None,
    cache: CacheStore | None = None,
    engines: Callable[[Engines, Tenant], Engines] | None = None,
    acme: Tenant = ACME,
    bolt: Tenant = BOLT,
    loops: Mapping[str, Loop] | None = None,
) -> AsyncIterator[Street]:
    """Both, in this process and in files below `data` unless on a `broker`, a `cache` and `engines` of their own."""
    purged = Purged()
    purging = PurgeQueue(purged, WORLD)
    common = replace(
        embedded_engines(DataDirectory(data), WORLD),
        broker=broker or MemoryBroker(),
        queries=QueryCache(cache or MemoryCache(WORLD.clock), WORLD, purging),
        loops={"purging": purging.run, **(loops or {})},
    )
    own = None if engines is None else lambda tenant: engines(common, tenant)
    async with running_tenants(board, data, [acme, bolt], WORLD, common=common, engines=own) as all:
        async with asyncio.timeout(WITHIN_SECONDS):
            while common.queries.health():
                await WORLD.sleep(0.01)
        yield Street(all, common, House(acme.name, all), House(bolt.name, all), purged)

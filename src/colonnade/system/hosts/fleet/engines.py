"""The engines of one service's process: PostgreSQL, a broker, a cache, and the other processes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from colonnade.caching.http_purge import HttpPurge
from colonnade.caching.purge import PurgeQueue
from colonnade.caching.query_cache import QueryCache
from colonnade.discovery.files import FileRegistry
from colonnade.messages.codec import MessageCodec
from colonnade.persistence import DataDirectory
from colonnade.persistence.store import Store
from colonnade.presentation.balancing import Balancer
from colonnade.security.tenants import Tenant
from colonnade.system.engines import Engines, engines_of
from colonnade.system.hosts.data_directory import TENANTS
from colonnade.system.hosts.fleet.brokers import connect_to_broker
from colonnade.system.hosts.fleet.elsewhere import HttpElsewhere
from colonnade.system.hosts.fleet.settings import ServiceSettings
from colonnade.system.service import System
from colonnade.system.topology import topology_of
from colonnade.workers.pruning import Retention
from colonnade.world import World

__all__ = ["FleetEngines", "fleet_engines"]

LEASE_SECONDS = 5.0
"""Who comes after an instance that was killed waits for so long; three renewals in that time cost next to nothing."""

KEPT_BYTES = 4 << 30
"""What the outbox of a service may take with what has left: at a hundred messages of 500 bytes a second 16 hours."""


LEASE_SECONDS_A_TENANT = 0.5
"""Each tenant has leases of its own: with more than ten they are held for longer, so that renewing costs no more."""


@dataclass(frozen=True, slots=True)
class FleetEngines:
    """The engines of a process; where the system has tenants, what each has `of` them."""

    common: Engines
    of: Callable[[Tenant], Engines]


@asynccontextmanager
async def fleet_engines(system: System, settings: ServiceSettings, world: World) -> AsyncIterator[FleetEngines]:
    """The engines that `settings` name; raises `BrokerUnavailable`."""
    from colonnade.persistence.postgres import PostgresInstance, open_postgres_store

    async def open_store(service: str) -> Store:
        return await open_postgres_store(settings.store, world, direct=settings.direct, replica=settings.replica)

    async with AsyncExitStack() as opened:
        balancer = Balancer(FileRegistry(settings.registry, world.clock))
        opened.callback(balancer.close)
        codec = MessageCodec(topology_of(system).names)
        elsewhere = HttpElsewhere(balancer, codec, world.clock)
        instance = PostgresInstance(settings.store, world, direct=settings.direct)
        opened.push_async_callback(instance.close)
        broker = await connect_to_broker(settings.broker, system.name, world)
        opened.push_async_callback(broker.close)
        queries, loops = _queries(settings, system.name, world)
        common = Engines(
            DataDirectory(settings.data),
            open_store,
            broker,
            settings.owner,
            queries,
            max(LEASE_SECONDS, LEASE_SECONDS_A_TENANT * len(settings.tenants)),
            True,
            settings.former,
            elsewhere,
            loops,
            retention=Retention(bytes=KEPT_BYTES),
        )

        def of(tenant: Tenant) -> Engines:
            async def open_own(service: str) -> Store:
                return await open_postgres_store(
                    settings.store, world, schema=tenant.schema, replica=settings.replica, within=instance
                )

            data = DataDirectory(settings.data / TENANTS / tenant.name)
            own = HttpElsewhere(balancer, codec, world.clock, tenant.name)
            return engines_of(tenant, common, world, data, open_own, own)

        yield FleetEngines(common, of)


def _queries(
    settings: ServiceSettings, system: str, world: World
) -> tuple[QueryCache, dict[str, Callable[[], Awaitable[None]]]]:
    from colonnade.caching.valkey import ValkeyCache

    cache = ValkeyCache(settings.cache, f"{system}.{settings.service}", world)
    purging = PurgeQueue(HttpPurge(settings.purge), world) if settings.purge else None
    loops: dict[str, Callable[[], Awaitable[None]]] = {"cache": cache.run}
    if purging is not None:
        loops["purging"] = purging.run
    return QueryCache(cache, world, purging), loops

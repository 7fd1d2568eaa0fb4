"""The engines of one service's process: PostgreSQL, a broker, a cache, and the other processes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from colonnade.caching.http_purge import HttpPurge
from colonnade.caching.purge import PurgeQueue
from colonnade.caching.query_cache import QueryCache
from colonnade.discovery.files import FileRegistry
from colonnade.messages.codec import MessageCodec
from colonnade.persistence import DataDirectory
from colonnade.persistence.store import Store
from colonnade.presentation.balancing import Balancer
from colonnade.system.engines import Engines
from colonnade.system.hosts.fleet.brokers import connect_to_broker
from colonnade.system.hosts.fleet.elsewhere import HttpElsewhere
from colonnade.system.hosts.fleet.settings import ServiceSettings
from colonnade.system.service import System
from colonnade.system.topology import topology_of
from colonnade.world import World

__all__ = ["fleet_engines"]

LEASE_SECONDS = 5.0
"""Who comes after an instance that was killed waits for so long; three renewals in that time cost next to nothing."""


@asynccontextmanager
async def fleet_engines(system: System, settings: ServiceSettings, world: World) -> AsyncIterator[Engines]:
    """The engines that `settings` name; raises `BrokerUnavailable`."""
    from colonnade.persistence.postgres import open_postgres_store

    async def open_store(service: str) -> Store:
        return await open_postgres_store(settings.store, world, replica=settings.replica)

    async with AsyncExitStack() as opened:
        balancer = Balancer(FileRegistry(settings.registry, world.clock))
        opened.callback(balancer.close)
        elsewhere = HttpElsewhere(balancer, MessageCodec(topology_of(system).names), world.clock)
        broker = await connect_to_broker(settings.broker, system.name, world)
        opened.push_async_callback(broker.close)
        queries, loops = _queries(settings, system.name, world)
        yield Engines(
            DataDirectory(settings.data),
            open_store,
            broker,
            settings.owner,
            queries,
            LEASE_SECONDS,
            True,
            settings.former,
            elsewhere,
            loops,
        )


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

"""What a host hands to the services that it runs: where they keep their data, how messages travel, who is elsewhere."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from colonnade.brokers.broker import Broker
from colonnade.brokers.memory import MemoryBroker
from colonnade.brokers.namespaced import NamespacedBroker
from colonnade.caching import MemoryCache
from colonnade.caching.http_purge import HttpPurge
from colonnade.caching.namespaced import NamespacedCache
from colonnade.caching.purge import PurgeQueue
from colonnade.caching.query_cache import QueryCache
from colonnade.messages import Command, Query
from colonnade.observability.correlation import Context
from colonnade.persistence import DataDirectory
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId
from colonnade.security.tenants import Tenant
from colonnade.workers.pruning import Retention
from colonnade.workers.refetching import ChainEnd, Refetched
from colonnade.workers.succession import Histories
from colonnade.world import World

__all__ = ["Elsewhere", "Engines", "OpenStore", "embedded_engines", "engines_of", "sqlite_stores"]

R = TypeVar("R")


OpenStore = Callable[[str], Awaitable[Store]]
"""Opens the store of a service."""


class Elsewhere(Protocol):
    """The services of the system that run in other processes."""

    async def execute(self, service: str, command: Command[R], context: Context) -> R:
        """Carry `command` out there; raises the handler's refusal."""

    async def ask(self, service: str, query: Query[R], context: Context) -> R:
        """Answer `query` there; raises the handler's refusal."""

    async def refetch(self, chain: ChainId, after: int) -> Refetched:
        """What the producer of `chain` keeps beyond the seq `after`, as `workers.refetching` says."""

    async def ends(self, service: str, topics: Collection[str]) -> Sequence[ChainEnd]:
        """How far `service` has published to `topics`; nothing while it cannot be asked."""

    async def histories(self, service: str) -> Histories | None:
        """Which history the store of a service is in; None while it cannot be asked."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What carries the services of one process.

    `owner` is who this process is where several share a store: it holds their leases, for up to `lease_seconds` after
    its end; those of the `former` one, which was in its place and has ended, are free. They are `shared` where other
    instances of a service may write its store too. `elsewhere` is None where all services are in this process. `loops`
    is what must run for these to be of use, by name.
    They are a `tenant`'s alone where the system has tenants.
    `retention` says how long messages that have left can be fetched again.
    """

    data: DataDirectory
    open_store: OpenStore
    broker: Broker
    owner: str
    queries: QueryCache
    lease_seconds: float = 30.0
    shared: bool = False
    former: str | None = None
    elsewhere: Elsewhere | None = None
    loops: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    tenant: Tenant | None = None
    retention: Retention = field(default_factory=Retention)


def embedded_engines(data: DataDirectory, world: World, purge: Sequence[str] = ()) -> Engines:
    """All in one process and its files: that nobody else holds the leases, the lock on the directory makes certain.

    `purge` are the URLs of what keeps public pages before it, and is told which are out of date.
    """

    purging = PurgeQueue(HttpPurge(purge), world) if purge else None
    queries = QueryCache(MemoryCache(world.clock), world, purging)
    loops = {"purging": purging.run} if purging is not None else {}
    return Engines(data, sqlite_stores(data, world), MemoryBroker(), "embedded", queries, loops=loops)


def sqlite_stores(data: DataDirectory, world: World) -> OpenStore:
    """Stores in files of `data`."""
    from colonnade.persistence.sqlite import open_sqlite_store  # a process of a fleet begins sooner without it

    async def open_store(service: str) -> Store:
        return await open_sqlite_store(data.path / f"{service}.sqlite3", world)

    return open_store


def engines_of(
    tenant: Tenant,
    common: Engines,
    world: World,
    data: DataDirectory,
    open_store: OpenStore,
    elsewhere: Elsewhere | None = None,
) -> Engines:
    """What `tenant` has of the engines of a process: files and stores of its own, its part of what carries and keeps.

    Nothing in it leads to another tenant's.
    """
    kept = NamespacedCache(common.queries.store, tenant.name)
    return replace(
        common,
        data=data,
        open_store=open_store,
        broker=NamespacedBroker(common.broker, tenant.name),
        queries=QueryCache(kept, world, common.queries.purging, tenant.name),
        elsewhere=elsewhere,
        loops={},
        tenant=tenant,
    )

"""The fleet's host: real servers, a process for each service, one for the gateway; all start and end with it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from colonnade.discovery.files import LOOK_SECONDS, write_registry
from colonnade.persistence import DataDirectory
from colonnade.security.tenants import Tenant
from colonnade.system.admin.evidence import write_evidence
from colonnade.system.admin.socket import serve_operations
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.system.hosts.fleet.brokers import broker_server, require_driver
from colonnade.system.hosts.fleet.databases import address_of, make_database, same_database
from colonnade.system.hosts.fleet.instance import HOST, Instance
from colonnade.system.hosts.fleet.keeping import Keeping
from colonnade.system.hosts.fleet.managed import Managed, Runnable
from colonnade.system.hosts.fleet.reaching import reachable
from colonnade.system.hosts.fleet.settings import (
    BrokerKind,
    BrokerSettings,
    GatewaySettings,
    ProcessSettings,
    ServiceSettings,
)
from colonnade.system.hosts.fleet.staffing import Staffing
from colonnade.system.hosts.listening import bound, url_of
from colonnade.system.hosts.stopping import Stop
from colonnade.system.hosts.tenant_directories import own_tenant_directories, refuse_tenants
from colonnade.system.service import System
from colonnade.system.topology import topology_of
from colonnade.world import World

__all__ = ["FleetHost", "FleetSettings", "ServingFleet"]

GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Where the gateway answers and where the servers keep their data.

    Of `postgres`, `broker_url` and `valkey` those that are named are servers that exist already, by their addresses; a
    PostgreSQL must let its user make databases and roles. Where `postgres` is a transaction pooler, `postgres_direct`
    is the server behind it, where databases are made and services listen. `postgres_replica` is a streaming standby of
    that server, where queries are read while it follows closely. `broker` says of which kind the broker is. `purge` are
    what keeps pages before the gateway. `replicas` says how many instances a service has, where that is not one.
    Without `tenants` it is one system for all.
    """

    target: str
    data: Path
    host: str = HOST
    port: int = 8000
    postgres: str | None = None
    broker: BrokerKind = BrokerKind.NATS
    broker_url: str | None = None
    valkey: str | None = None
    purge: Sequence[str] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)
    postgres_replica: str | None = None
    tenants: Sequence[Tenant] = ()
    postgres_direct: str | None = None


@dataclass(frozen=True, slots=True)
class ServingFleet:
    """A fleet that answers."""

    url: str
    data: DataDirectory
    services: tuple[str, ...]
    tenants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Servers:
    stores: Mapping[str, str]
    poolers: Mapping[str, str]
    """Where the stores are behind a pooler, if there is one."""
    broker: BrokerSettings
    cache: str


class FleetHost:
    """Runs a system as a fleet until it is told to stop.

    `ready` is called once requests are answered, `stopping` once no more work is taken on, `changed` whenever something
    of the fleet changes its state.
    """

    def __init__(
        self,
        system: System,
        settings: FleetSettings,
        world: World,
        *,
        ready: Callable[[ServingFleet], None],
        stopping: Callable[[], None],
        changed: Callable[[Managed], None],
    ) -> None:
        self._system = system
        self._settings = settings
        self._world = world
        self._ready = ready
        self._on_change = changed
        self._stop = Stop(world.clock, stopping)
        self.running: list[Managed] = []
        """Servers first, then services, the gateway last."""
        self._registry = Path()
        self._port = settings.port
        self._url = ""

    def stop(self) -> None:
        """Take no more work on, finish what is being done, and return from `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped, by `stop` or by a signal.

        Raises `InvalidSystem`, `DataDirectoryInUse`, `UnusableDataDirectory`, `AddressUnusable`, `ServerFailed`.
        """
        topology_of(self._system)  # before anything is started
        with bound(self._settings.host, self._settings.port) as listener:
            # Each process of the gateway listens by itself; here only that it will be able to is seen
            self._port = listener.getsockname()[1]
            self._url = url_of(self._settings.host, listener)
        with self._stop.signals(), own_data_directory(self._settings.data) as data:
            async with AsyncExitStack() as opened:
                tenants = self._settings.tenants
                if tenants:
                    own = opened.enter_context(own_tenant_directories(data, tenants))
                else:
                    own = {}
                    refuse_tenants(data.path)
                starting = asyncio.ensure_future(self._start(data, own, opened))
                if not await self._stop.unless(starting):
                    return
                staffing = starting.result()
                async with serve_operations(data.path, staffing.perform):
                    services = tuple(service.name for service in self._system.services)
                    self._ready(ServingFleet(self._url, data, services, tuple(own)))
                    await self._stop.wait()
                    await staffing.close()

    async def _start(self, data: DataDirectory, own: Mapping[str, DataDirectory], opened: AsyncExitStack) -> Staffing:
        folder = data.path / "fleet"
        folder.mkdir(exist_ok=True)
        self._registry = folder / "registry.json"
        write_registry(self._registry, {})
        servers = await self._servers(folder, opened)
        for tenant in self._settings.tenants:
            at = {service: f"{address}#{tenant.schema}" for service, address in servers.stores.items()}
            write_evidence(own[tenant.name], at)
        if not own:
            write_evidence(data, servers.stores)

        def made(service: str, name: str) -> Managed:
            return self._instance(service, name, data, folder, servers)

        keeping = await opened.enter_async_context(Keeping(self._world))
        names = [service.name for service in self._system.services]
        staffing = Staffing(names, self.running, made, keeping, self._world)
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(staffing.begin(self._settings.replicas))
                starting.create_task(self._kept([self._gateway(folder)], opened))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        # The gateway and the services may have looked just before the last of them was in the registry
        await self._world.sleep(LOOK_SECONDS)
        return staffing

    async def _servers(self, folder: Path, opened: AsyncExitStack) -> _Servers:
        from colonnade.system.hosts.servers.ports import free_port
        from colonnade.system.hosts.servers.postgresql import PostgresServer
        from colonnade.system.hosts.servers.valkey import ValkeyServer

        settings, world = self._settings, self._world
        started: list[Managed] = []
        postgres = PostgresServer(folder / "postgresql", world, port=free_port(), connections=200, settings={})
        valkey = ValkeyServer(folder / "valkey", world, port=free_port(), settings={})
        if settings.postgres is None:
            started.append(self._managed("postgresql", postgres))
        require_driver(settings.broker)
        broker_url = settings.broker_url
        if broker_url is None:
            broker = broker_server(settings.broker, folder, world)
            broker_url = broker.url
            started.append(self._managed(settings.broker, broker))
        if settings.valkey is None:
            started.append(self._managed("valkey", valkey))
        await self._kept(started, opened)
        passwords = _passwords(folder / "passwords.json", [service.name for service in self._system.services], world)
        server = settings.postgres_direct or settings.postgres or postgres.url()
        pooler = settings.postgres if settings.postgres_direct is not None else None
        stores, poolers = {}, {}
        for service, password in passwords.items():
            database = f"{self._system.name}_{service}"
            stores[service] = await make_database(server, database, password)
            if pooler is not None:
                poolers[service] = address_of(pooler, database, password)
        return _Servers(stores, poolers, BrokerSettings(settings.broker, broker_url), settings.valkey or valkey.url)

    def _instance(self, service: str, name: str, data: DataDirectory, folder: Path, servers: _Servers) -> Managed:
        owners: list[str] = []
        replica = self._settings.postgres_replica

        def settings(port: int) -> ProcessSettings:
            owners.append(f"{name}-{self._world.ids.new()}")
            return ServiceSettings(
                target=self._settings.target,
                host=HOST,
                port=port,
                registry=self._registry,
                service=service,
                owner=owners[-1],
                former=owners[-2] if len(owners) > 1 else None,
                data=data.path,
                store=servers.poolers.get(service, servers.stores[service]),
                direct=servers.stores[service] if service in servers.poolers else None,
                replica=same_database(replica, servers.stores[service]) if replica is not None else None,
                broker=servers.broker,
                cache=servers.cache,
                purge=tuple(self._settings.purge),
                tenants=tuple(self._settings.tenants),
            )

        return self._managed(name, Instance(name, settings, folder / f"{name}.log", self._world, service=service))

    def _gateway(self, folder: Path) -> Managed:
        def settings(port: int) -> ProcessSettings:
            return GatewaySettings(
                host=host,
                port=port,
                registry=self._registry,
                services=tuple(service.name for service in self._system.services),
                tenants=tuple(self._settings.tenants),
            )

        log, host = folder / "gateway.log", self._settings.host
        return self._managed(GATEWAY, Instance(GATEWAY, settings, log, self._world, host=host, port=self._port))

    def _managed(self, name: str, runnable: Runnable) -> Managed:
        return Managed(name, runnable, self._world, self._changed)

    async def _kept(self, all: Sequence[Managed], opened: AsyncExitStack) -> None:
        keeping = await opened.enter_async_context(Keeping(self._world))
        self.running += all
        await keeping.start(all)

    def _changed(self, managed: Managed) -> None:
        if isinstance(managed.runnable, Instance):
            write_registry(self._registry, reachable(self.running))
        self._on_change(managed)


def _passwords(path: Path, services: Sequence[str], world: World) -> Mapping[str, str]:
    """A password for each service's role, made once."""
    kept: dict[str, str] = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
    passwords = {service: kept.get(service) or f"{world.randomness.bits(128):032x}" for service in services}
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode({**kept, **passwords}))
    return passwords

"""The fleet's host: real servers, a process for each service, one for the gateway; all start and end with it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from colonnade.discovery.files import write_registry
from colonnade.observability.logs import get_logger
from colonnade.persistence import DataDirectory
from colonnade.system.admin.evidence import write_evidence
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.system.hosts.fleet.brokers import broker_server, require_driver
from colonnade.system.hosts.fleet.databases import make_database
from colonnade.system.hosts.fleet.instance import HOST, START_SECONDS, Instance
from colonnade.system.hosts.fleet.managed import Managed, Runnable
from colonnade.system.hosts.fleet.reaching import can_be_spared, reachable
from colonnade.system.hosts.fleet.settings import (
    BrokerKind,
    BrokerSettings,
    GatewaySettings,
    ProcessSettings,
    ServiceSettings,
)
from colonnade.system.hosts.fleet.watching import watch
from colonnade.system.hosts.listening import bound, url_of
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.stopping import Stop
from colonnade.system.service import System
from colonnade.system.topology import topology_of
from colonnade.world import World

__all__ = ["FleetHost", "FleetSettings", "ServingFleet"]

GATEWAY = "gateway"

REPLACE_SIGNAL = signal.SIGUSR2
"""Tells the host to start every instance anew, one after the other."""

_LOOK_SECONDS = 0.05

_log = get_logger()


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Where the gateway answers and where the servers keep their data.

    Of `postgres`, `broker_url` and `valkey` those that are named are servers that exist already, by their addresses; a
    PostgreSQL must let its user make databases and roles. `broker` says of which kind the broker is. `purge` are what
    keeps pages before the gateway. `replicas` says how many instances a service has, where that is not one.
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


@dataclass(frozen=True, slots=True)
class ServingFleet:
    """A fleet that answers."""

    url: str
    data: DataDirectory
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Servers:
    stores: Mapping[str, str]
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
        self._replacing = asyncio.Lock()
        self._told: asyncio.Task[None] | None = None

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
                starting = asyncio.ensure_future(self._start(data, opened))
                if not await self._stop.unless(starting):
                    return
                starting.result()
                services = tuple(service.name for service in self._system.services)
                asyncio.get_running_loop().add_signal_handler(REPLACE_SIGNAL, self._told_to_replace)
                self._ready(ServingFleet(self._url, data, services))
                try:
                    await self._stop.wait()
                finally:
                    asyncio.get_running_loop().remove_signal_handler(REPLACE_SIGNAL)
                    if self._told is not None:
                        self._told.cancel()
                        await asyncio.wait([self._told])

    def _told_to_replace(self) -> None:
        if self._told is None or self._told.done():
            self._told = asyncio.get_running_loop().create_task(self._replace_as_told())

    async def _replace_as_told(self) -> None:
        try:
            await self.replace_all()
        except ServerFailed as error:
            _log.error("replacing ended", cause=str(error))

    async def replace_all(self) -> None:
        """Start every instance of the services anew, one after the other, so that others answer meanwhile.

        Raises `ServerFailed` for one that does not come again, and leaves the rest as they are.
        """
        async with self._replacing:
            for managed in self.running:
                if isinstance(managed.runnable, Instance) and managed.runnable.service is not None:
                    await self._until_others_answer(managed)
                    await managed.replace()

    async def _until_others_answer(self, managed: Managed) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not can_be_spared(managed, self.running):
                    await self._world.sleep(_LOOK_SECONDS)
        except TimeoutError:
            reason = f"it is not stopped, as no other of its service was ready within {START_SECONDS:.0f} s"
            raise managed.runnable.child.failed(reason) from None

    async def _start(self, data: DataDirectory, opened: AsyncExitStack) -> None:
        folder = data.path / "fleet"
        folder.mkdir(exist_ok=True)
        self._registry = folder / "registry.json"
        write_registry(self._registry, {})
        servers = await self._servers(folder, opened)
        write_evidence(data, servers.stores)
        services = [
            self._instance(service.name, name, data, folder, servers)
            for service in self._system.services
            for name in _named(service.name, self._settings.replicas.get(service.name, 1))
        ]
        await opened.enter_async_context(self._kept(services))
        await opened.enter_async_context(self._kept([self._gateway(folder)]))

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
        await opened.enter_async_context(self._kept(started))
        passwords = _passwords(folder / "passwords.json", [service.name for service in self._system.services], world)
        administrator = settings.postgres or postgres.url()
        stores = {
            service: await make_database(administrator, f"{self._system.name}_{service}", password)
            for service, password in passwords.items()
        }
        return _Servers(stores, BrokerSettings(settings.broker, broker_url), settings.valkey or valkey.url)

    def _instance(self, service: str, name: str, data: DataDirectory, folder: Path, servers: _Servers) -> Managed:
        def settings(port: int) -> ProcessSettings:
            return ServiceSettings(
                target=self._settings.target,
                host=HOST,
                port=port,
                registry=self._registry,
                service=service,
                owner=f"{name}-{self._world.ids.new()}",
                shared=self._settings.replicas.get(service, 1) > 1,
                data=data.path,
                store=servers.stores[service],
                broker=servers.broker,
                cache=servers.cache,
                purge=tuple(self._settings.purge),
            )

        return self._managed(name, Instance(name, settings, folder / f"{name}.log", self._world, service=service))

    def _gateway(self, folder: Path) -> Managed:
        def settings(port: int) -> ProcessSettings:
            target = self._settings.target
            return GatewaySettings(target=target, host=host, port=port, registry=self._registry)

        log, host = folder / "gateway.log", self._settings.host
        return self._managed(GATEWAY, Instance(GATEWAY, settings, log, self._world, host=host, port=self._port))

    def _managed(self, name: str, runnable: Runnable) -> Managed:
        managed = Managed(name, runnable, self._world, self._changed)
        self.running.append(managed)
        return managed

    def _changed(self, managed: Managed) -> None:
        if isinstance(managed.runnable, Instance):
            write_registry(self._registry, reachable(self.running))
        self._on_change(managed)

    @asynccontextmanager
    async def _kept(self, all: Sequence[Managed]) -> AsyncIterator[None]:
        """Start them beside each other, keep them running, and stop them at the end."""
        try:
            async with asyncio.TaskGroup() as starting:
                for managed in all:
                    starting.create_task(managed.start())
        except BaseExceptionGroup as group:
            await asyncio.gather(*(managed.stop() for managed in all))
            raise group.exceptions[0] from None
        except BaseException:
            await asyncio.gather(*(managed.stop() for managed in all))
            raise
        keeping = [asyncio.create_task(managed.keep_running()) for managed in all]
        keeping += [
            asyncio.create_task(watch(managed, managed.runnable, self._world))
            for managed in all
            if isinstance(managed.runnable, Instance)
        ]
        try:
            yield
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await asyncio.gather(*(managed.stop() for managed in all))


def _named(service: str, instances: int) -> Sequence[str]:
    """The names of its instances."""
    return [service] if instances == 1 else [f"{service}-{number}" for number in range(1, instances + 1)]


def _passwords(path: Path, services: Sequence[str], world: World) -> Mapping[str, str]:
    """A password for each service's role, made once."""
    kept: dict[str, str] = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
    passwords = {service: kept.get(service) or f"{world.randomness.bits(128):032x}" for service in services}
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode({**kept, **passwords}))
    return passwords

"""The embedded host: a whole system in one process, without any server beside it."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from colonnade.observability.logs import get_logger
from colonnade.persistence import DataDirectory
from colonnade.security.tenants import Tenant
from colonnade.system.admin.evidence import forget_evidence
from colonnade.system.admin.perform import perform
from colonnade.system.admin.socket import serve_operations
from colonnade.system.admin.with_code import administered
from colonnade.system.engines import Engines, embedded_engines, engines_of, sqlite_stores
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.system.hosts.listening import bound, url_of
from colonnade.system.hosts.serving import Served, serve
from colonnade.system.hosts.stopping import Stop
from colonnade.system.hosts.tenant_directories import allow_open_files, own_tenant_directories, refuse_tenants
from colonnade.system.runtime import Runtime, build
from colonnade.system.service import System
from colonnade.system.tenants import build_for_tenants
from colonnade.world import World

__all__ = ["EmbeddedHost", "HostSettings", "Serving"]

_log = get_logger()


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where the system answers and keeps its data; port 0 takes a free one. `purge` are what keeps pages before it.

    Without `tenants` it is one for all.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    purge: Sequence[str] = ()
    tenants: Sequence[Tenant] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """A host that answers."""

    url: str
    data: DataDirectory
    services: tuple[str, ...]
    tenants: tuple[str, ...] = ()


class EmbeddedHost:
    """Runs a system until it is told to stop.

    `ready` is called once requests are answered, `stopping` once no more work is taken on.
    """

    def __init__(
        self,
        system: System,
        settings: HostSettings,
        world: World,
        *,
        ready: Callable[[Serving], None],
        stopping: Callable[[], None],
    ) -> None:
        self._system = system
        self._settings = settings
        self._world = world
        self._ready = ready
        self._stop = Stop(world.clock, stopping)

    def stop(self) -> None:
        """Take no more work on, finish what is being done, and return from `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped, by `stop` or by a signal.

        Raises `DataDirectoryInUse`, `UnusableDataDirectory`, `AddressUnusable` and what building the system raises.
        """
        settings = self._settings
        with (
            self._stop.signals(),
            own_data_directory(settings.data) as data,
            bound(settings.host, settings.port) as listener,
        ):
            engines = embedded_engines(data, self._world, settings.purge)
            if settings.tenants:
                await self._run_for_tenants(data, engines, listener)
                return
            refuse_tenants(data.path)
            forget_evidence(data)
            building = asyncio.ensure_future(build(self._system, engines, self._world))
            if not await self._stop.unless(building):
                return
            runtime = building.result()
            try:
                await self._serve(runtime, runtime.gateway, {data: runtime}, data, listener)
            finally:
                await runtime.close()

    async def _run_for_tenants(self, data: DataDirectory, common: Engines, listener: socket.socket) -> None:
        tenants, world = self._settings.tenants, self._world
        allow_open_files()
        with own_tenant_directories(data, tenants) as own:
            for directory in own.values():
                forget_evidence(directory)

            def engines(tenant: Tenant) -> Engines:
                directory = own[tenant.name]
                return engines_of(tenant, common, world, directory, sqlite_stores(directory, world))

            building = asyncio.ensure_future(build_for_tenants(self._system, tenants, common, engines, world))
            if not await self._stop.unless(building):
                return
            runtime = building.result()
            try:
                each = {own[name]: of_tenant for name, of_tenant in runtime.of.items()}
                await self._serve(runtime, runtime.door, each, data, listener)
            finally:
                await runtime.close()

    async def _serve(
        self,
        served: Served,
        app: ASGIApp,
        runtimes: Mapping[DataDirectory, Runtime],
        data: DataDirectory,
        listener: socket.socket,
    ) -> None:
        services = tuple(service.name for service in self._system.services)
        tenants = tuple(tenant.name for tenant in self._settings.tenants)

        def ready() -> None:
            self._ready(Serving(url_of(self._settings.host, listener), data, services, tenants))
            _log.info(
                "ready",
                system=self._system.name,
                services=len(services),
                **({"tenants": len(tenants)} if tenants else {}),
            )

        async with AsyncExitStack() as operated:
            for directory, runtime in runtimes.items():
                operations = partial(perform, services=administered(runtime), world=self._world)
                await operated.enter_async_context(serve_operations(directory.path, operations))
            await serve(served, app, listener, self._stop, ready)
        _log.info("stopped", system=self._system.name)

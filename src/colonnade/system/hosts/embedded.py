"""The embedded host: a whole system in one process, without any server beside it."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from colonnade.observability.logs import get_logger
from colonnade.persistence import DataDirectory
from colonnade.system.admin.offline import administered
from colonnade.system.admin.perform import perform
from colonnade.system.admin.socket import serve_operations
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.system.hosts.listening import bound, url_of
from colonnade.system.hosts.serving import serve
from colonnade.system.hosts.stopping import Stop
from colonnade.system.runtime import Runtime, build
from colonnade.system.service import System
from colonnade.world import World

__all__ = ["EmbeddedHost", "HostSettings", "Serving"]

_log = get_logger()


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where the system answers and keeps its data; port 0 takes a free one. `purge` are what keeps pages before it."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    purge: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """A host that answers."""

    url: str
    data: DataDirectory
    services: tuple[str, ...]


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
            building = asyncio.ensure_future(
                build(self._system, embedded_engines(data, self._world, settings.purge), self._world)
            )
            if not await self._stop.unless(building):
                return
            runtime = building.result()
            try:
                await self._serve(runtime, data, listener)
            finally:
                await runtime.close()

    async def _serve(self, runtime: Runtime, data: DataDirectory, listener: socket.socket) -> None:
        def ready() -> None:
            self._ready(Serving(url_of(self._settings.host, listener), data, tuple(runtime.services)))
            _log.info("ready", system=self._system.name, services=len(runtime.services))

        operations = partial(perform, services=administered(runtime), world=self._world)
        async with serve_operations(data.path, operations):
            await serve(runtime, runtime.gateway, listener, self._stop, ready)
        _log.info("stopped", system=self._system.name)

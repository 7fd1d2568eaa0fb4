"""The embedded host: a whole system in one process, without any server beside it."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from colonnade.observability.health import Health, Phase
from colonnade.observability.logs import get_logger
from colonnade.observability.requests import RequestLog
from colonnade.persistence import DataDirectory
from colonnade.system.admin.offline import administered
from colonnade.system.admin.perform import perform
from colonnade.system.admin.socket import serve_operations
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.system.hosts.health_log import log_health
from colonnade.system.hosts.supervision import Supervisor
from colonnade.system.runtime import Runtime, build
from colonnade.system.service import System
from colonnade.world import World

__all__ = ["AddressUnusable", "EmbeddedHost", "HostSettings", "Serving"]

GRACE_SECONDS = 10
"""How long requests may take to end once the host is told to stop."""

KEEP_ALIVE_SECONDS = 65
BACKLOG_CONNECTIONS = 2_048
ECHO_SECONDS = 0.5
"""Within this time a second signal is the echo of the first: a terminal and its tools may both hand one on."""

FORCED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = get_logger()


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where the system answers and where it keeps its data; port 0 takes a free one."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000


@dataclass(frozen=True, slots=True)
class Serving:
    """A host that answers."""

    url: str
    data: DataDirectory
    services: tuple[str, ...]


class AddressUnusable(Exception):
    """The host cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str, remedy: str) -> None:
        super().__init__(host, port, reason, remedy)
        self.host, self.port, self.reason, self.remedy = host, port, reason, remedy

    def __str__(self) -> str:
        return f"Cannot listen on {self.host} port {self.port}: {self.reason}; {self.remedy}."


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
        self._stopping = stopping
        self._stop = asyncio.Event()
        self._first_signal_at: float | None = None

    def stop(self) -> None:
        """Take no more work on, finish what is being done, and return from `run`."""
        if not self._stop.is_set():
            self._stop.set()
            self._stopping()

    async def run(self) -> None:
        """Serve until stopped, by `stop` or by a signal.

        Raises `DataDirectoryInUse`, `UnusableDataDirectory`, `AddressUnusable` and what building the system raises.
        """
        settings = self._settings
        with (
            self._signals(),
            own_data_directory(settings.data) as data,
            _bound(settings.host, settings.port) as listener,
        ):
            building = asyncio.ensure_future(build(self._system, embedded_engines(data, self._world), self._world))
            if not await self._unless_stopped(building):
                return
            runtime = building.result()
            try:
                await self._serve(runtime, data, listener)
            finally:
                await runtime.close()

    async def _serve(self, runtime: Runtime, data: DataDirectory, listener: socket.socket) -> None:
        loops = {**runtime.loops, "host.health": lambda: log_health(runtime.health, self._world)}
        supervisor = Supervisor(loops, self._world)
        runtime.health.watch(supervisor.health)
        server = _Server(RequestLog(runtime.gateway, self._world.clock))
        operations = partial(perform, services=administered(runtime), world=self._world)
        async with serve_operations(data.path, operations), asyncio.TaskGroup() as group:
            background = group.create_task(supervisor.run())
            serving = group.create_task(server.serve([listener]))
            await server.ready.wait()
            spare_what_stays()
            _enter(runtime, Phase.SERVING)
            self._ready(Serving(_url(self._settings.host, listener), data, tuple(runtime.services)))
            _log.info("ready", system=self._system.name, services=len(runtime.services))
            await self._stop.wait()
            _enter(runtime, Phase.STOPPING)
            # Requests in flight may need the loops, so these end last
            server.should_exit = True
            await serving
            background.cancel()
        _log.info("stopped", system=self._system.name)

    async def _unless_stopped(self, work: "asyncio.Future[Runtime]") -> bool:
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
        return not work.cancelled()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        now = self._world.clock.monotonic()
        if self._first_signal_at is None:
            self._first_signal_at = now
            self.stop()
        elif now - self._first_signal_at > ECHO_SECONDS:
            # What was acknowledged is durable: leaving now is no worse than a power cut
            os._exit(FORCED)


class _Server(uvicorn.Server):
    """uvicorn, that leaves signals to the host and says when it answers."""

    def __init__(self, app: RequestLog) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.ready = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _enter(runtime: Runtime, phase: Phase) -> None:
    healths: list[Health] = [runtime.health, *(service.health for service in runtime.services.values())]
    for health in healths:
        health.phase = phase


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    except (socket.gaierror, UnicodeError):
        raise AddressUnusable(host, port, "the name is not known", "name an address of this machine") from None
    except OverflowError:
        raise AddressUnusable(host, port, "there is no such port", "choose one from 0 to 65535") from None
    except PermissionError:
        raise AddressUnusable(
            host, port, "this user may not listen there", "choose a port above 1023 with --port"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressUnusable(
                host, port, "another program listens there", "stop it, or choose another port with --port"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise AddressUnusable(host, port, "the address is not one of this machine's", "name one that is") from None
        raise AddressUnusable(host, port, os.strerror(error.errno or 0).lower(), "name another address") from error
    with listener:
        listener.setblocking(False)
        yield listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

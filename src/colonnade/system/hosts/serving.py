"""A built system at work: its loops run, and its requests are answered, until it is told to stop."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from starlette.types import ASGIApp

from colonnade.observability.health import Health, Phase
from colonnade.observability.requests import RequestLog
from colonnade.system.assembly import Loop
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.system.hosts.health_log import log_health
from colonnade.system.hosts.listening import Server
from colonnade.system.hosts.stopping import Stop
from colonnade.system.hosts.supervision import Supervisor
from colonnade.world import World

__all__ = ["Served", "serve"]


class Served(Protocol):
    """What a host runs: one system, or one for each tenant."""

    @property
    def world(self) -> World:
        """Its clock, and the rest."""

    @property
    def health(self) -> Health:
        """That of all of it."""

    @property
    def phased(self) -> Sequence[Health]:
        """All whose phase is that of the host."""

    @property
    def loops(self) -> Mapping[str, Loop]:
        """What must run for it to live, by name."""


async def serve(runtime: Served, app: ASGIApp, listener: socket.socket, stop: Stop, ready: Callable[[], None]) -> None:
    """Serve `app` on `listener` until `stop`; `ready` is called once requests are answered."""
    world = runtime.world
    loops = {**runtime.loops, "host.health": lambda: log_health(runtime.health, world)}
    supervisor = Supervisor(loops, world)
    runtime.health.watch(supervisor.health)
    server = Server(RequestLog(app, world.clock))
    async with asyncio.TaskGroup() as group:
        background = group.create_task(supervisor.run())
        serving = group.create_task(server.serve([listener]))
        await server.ready.wait()
        spare_what_stays()
        _enter(runtime, Phase.SERVING)
        ready()
        await stop.wait()
        _enter(runtime, Phase.STOPPING)
        # Requests in flight may need the loops, so these end last
        server.should_exit = True
        await serving
        background.cancel()


def _enter(runtime: Served, phase: Phase) -> None:
    for health in runtime.phased:
        health.phase = phase

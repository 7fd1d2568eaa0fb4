"""One process of the fleet at work: an instance of a service."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from colonnade.observability.health import Health
from colonnade.observability.logs import get_logger
from colonnade.persistence.failures import StoreAway
from colonnade.system.hosts.fleet.engines import FleetEngines, fleet_engines
from colonnade.system.hosts.fleet.internal import Internal
from colonnade.system.hosts.fleet.settings import ServiceSettings
from colonnade.system.hosts.listening import bound
from colonnade.system.hosts.serving import serve
from colonnade.system.hosts.stopping import Stop
from colonnade.system.runtime import build
from colonnade.system.service import System
from colonnade.system.tenants import build_for_tenants
from colonnade.world import World

__all__ = ["run_service"]

LOOK_SECONDS = 0.5
"""How often a process looks whether it must end."""

AWAY_SECONDS = 15.0
"""For how long a process that starts waits for its database."""

AGAIN_SECONDS = 0.5

_log = get_logger()


async def run_service(system: System, settings: ServiceSettings, world: World) -> None:
    """Serve until a signal says to stop; raises what the engines and building the system raise."""
    stop = Stop(world.clock, lambda: _log.info("stopping"))
    with stop.signals(), bound(settings.host, settings.port) as listener:
        deadline = world.clock.monotonic() + AWAY_SECONDS
        while True:
            try:
                await _service(system, settings, world, stop, listener)
                break
            except StoreAway as away:  # it may be starting, as this process is; once that is ready, others see to it
                if world.clock.monotonic() >= deadline:
                    raise
                _log.warning("store away", store=away.store, cause=away.reason)
                await stop.unless(asyncio.ensure_future(world.sleep(AGAIN_SECONDS)))
    _log.info("stopped")


async def _service(
    system: System, settings: ServiceSettings, world: World, stop: Stop, listener: socket.socket
) -> None:
    async with fleet_engines(system, settings, world) as engines:
        if settings.tenants:
            await _for_tenants(system, settings, engines, world, stop, listener)
            return
        building = asyncio.ensure_future(build(system, engines.common, world, only={settings.service}))
        if not await stop.unless(building):
            return
        runtime = building.result()
        try:
            async with _ending(runtime.health, stop, world):
                await serve(runtime, Internal(runtime.gateway, runtime), listener, stop, lambda: _log.info("ready"))
        finally:
            await runtime.close()


async def _for_tenants(
    system: System,
    settings: ServiceSettings,
    engines: FleetEngines,
    world: World,
    stop: Stop,
    listener: socket.socket,
) -> None:
    building = asyncio.ensure_future(
        build_for_tenants(
            system,
            settings.tenants,
            engines.common,
            engines.of,
            world,
            {settings.service},
            Internal,
            limited=False,  # the gateway has counted them
        )
    )
    if not await stop.unless(building):
        return
    runtime = building.result()
    try:
        async with _ending(runtime.health, stop, world):
            await serve(runtime, runtime.door, listener, stop, lambda: _log.info("ready"))
    finally:
        await runtime.close()


@asynccontextmanager
async def _ending(health: Health, stop: Stop, world: World) -> AsyncIterator[None]:
    """Stop where only a new process helps, which the host starts."""
    looking = asyncio.create_task(_stop_when_fatal(health, stop, world))
    try:
        yield
    finally:
        looking.cancel()


async def _stop_when_fatal(health: Health, stop: Stop, world: World) -> None:
    while True:
        await world.sleep(LOOK_SECONDS)
        report = health.live()
        if not report.ok:
            _log.error("not to be mended", cause=report.states[0].detail)
            stop.set()
            return

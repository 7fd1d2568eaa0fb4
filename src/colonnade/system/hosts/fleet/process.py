"""One process of the fleet at work: an instance of a service, or the gateway."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from colonnade.discovery.files import FileRegistry
from colonnade.gateway.proxy import ProxyGateway
from colonnade.gateway.tenancy import TenantDoor
from colonnade.observability.health import Health, Phase
from colonnade.observability.logs import get_logger
from colonnade.observability.requests import RequestLog
from colonnade.presentation.balancing import Balancer
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.system.hosts.fleet.engines import FleetEngines, fleet_engines
from colonnade.system.hosts.fleet.internal import Internal
from colonnade.system.hosts.fleet.settings import GatewaySettings, ProcessSettings, ServiceSettings
from colonnade.system.hosts.listening import Server, bound
from colonnade.system.hosts.serving import serve
from colonnade.system.hosts.stopping import Stop
from colonnade.system.runtime import build
from colonnade.system.service import System
from colonnade.system.tenants import build_for_tenants, rates_of
from colonnade.world import World

__all__ = ["run_process"]

LOOK_SECONDS = 0.5
"""How often a process looks whether it must end."""

_log = get_logger()


async def run_process(system: System, settings: ProcessSettings, world: World) -> None:
    """Serve until a signal says to stop; raises what the engines and building the system raise."""
    stop = Stop(world.clock, lambda: _log.info("stopping"))
    with stop.signals(), bound(settings.host, settings.port) as listener:
        if isinstance(settings, GatewaySettings):
            await _gateway(system, settings, world, stop, listener)
        else:
            await _service(system, settings, world, stop, listener)
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


async def _gateway(
    system: System, settings: GatewaySettings, world: World, stop: Stop, listener: socket.socket
) -> None:
    registry = FileRegistry(settings.registry, world.clock)
    balancer, health = Balancer(registry), Health(world.clock)
    gateway: ASGIApp = ProxyGateway([service.name for service in system.services], registry, balancer, health)
    if settings.tenants:
        # All go the same way on, with the header, which tells each service whose they are
        apps = {tenant.name: gateway for tenant in settings.tenants}
        gateway = TenantDoor(apps, gateway, rates_of(settings.tenants, world))
    server = Server(RequestLog(gateway, world.clock))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve([listener]))
        await server.ready.wait()
        spare_what_stays()
        health.phase = Phase.SERVING
        _log.info("ready")
        await stop.wait()
        health.phase = Phase.STOPPING
        server.should_exit = True
        await serving
    balancer.close()

"""The gateway of the fleet as a process."""

import asyncio

from starlette.types import ASGIApp

from colonnade.discovery.files import FileRegistry
from colonnade.gateway.proxy import ProxyGateway
from colonnade.observability.health import Health, Phase
from colonnade.observability.logs import get_logger
from colonnade.observability.requests import RequestLog
from colonnade.presentation.balancing import Balancer
from colonnade.system.hosts.collecting import spare_what_stays
from colonnade.system.hosts.fleet.settings import GatewaySettings
from colonnade.system.hosts.listening import Server, bound
from colonnade.system.hosts.stopping import Stop
from colonnade.world import World

__all__ = ["run_gateway"]

_log = get_logger()


async def run_gateway(settings: GatewaySettings, world: World) -> None:
    """Serve until a signal says to stop."""
    stop = Stop(world.clock, lambda: _log.info("stopping"))
    with stop.signals(), bound(settings.host, settings.port) as listener:
        registry = FileRegistry(settings.registry, world.clock)
        balancer, health = Balancer(registry), Health(world.clock)
        gateway: ASGIApp = ProxyGateway(settings.services, registry, balancer, health)
        if settings.tenants:
            gateway = _before(gateway, settings, world)
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
    _log.info("stopped")


def _before(gateway: ASGIApp, settings: GatewaySettings, world: World) -> ASGIApp:
    from colonnade.gateway.tenancy import TenantDoor
    from colonnade.system.tenants import rates_of  # with all that a service needs: without tenants it begins sooner

    # All go the same way on, with the header, which tells each service whose they are
    apps = {tenant.name: gateway for tenant in settings.tenants}
    return TenantDoor(apps, gateway, rates_of(settings.tenants, world))

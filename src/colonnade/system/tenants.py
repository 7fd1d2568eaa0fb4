"""A system for each of its tenants, in one process: each built from engines that hold nothing of another's."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from starlette.types import ASGIApp

from colonnade.gateway import EmbeddedGateway
from colonnade.gateway.tenancy import TenantDoor
from colonnade.observability.correlation import current_tenant
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import Health, HealthState
from colonnade.security.rates import RateWindow
from colonnade.security.tenants import Tenant
from colonnade.system.assembly import Loop
from colonnade.system.engines import Engines
from colonnade.system.runtime import Runtime, build
from colonnade.system.service import System
from colonnade.world import World

__all__ = ["TenantedRuntime", "build_for_tenants", "rates_of"]


@dataclass(frozen=True)
class TenantedRuntime:
    """The runtimes of all tenants, by name, and what they share: the door, and the engines beneath."""

    of: Mapping[str, Runtime]
    door: ASGIApp
    health: Health
    world: World
    _common: Engines
    _resources: AsyncExitStack

    @property
    def phased(self) -> Sequence[Health]:
        """All whose phase is that of the host."""
        return [self.health, *(health for runtime in self.of.values() for health in runtime.phased)]

    @property
    def loops(self) -> Mapping[str, Loop]:
        """The work of all tenants in the background; each has its own, so that none waits behind another's backlog."""
        own = {
            f"{name}/{loop}": _as_tenant(name, work)
            for name, runtime in self.of.items()
            for loop, work in runtime.loops.items()
        }
        return {**self._common.loops, **own}

    async def close(self) -> None:
        """Let go of everything; loops must have been stopped."""
        await self._resources.aclose()


async def build_for_tenants(
    system: System,
    tenants: Sequence[Tenant],
    common: Engines,
    engines_of: Callable[[Tenant], Engines],
    world: World,
    only: Collection[str] | None = None,
    within: Callable[[ASGIApp, Runtime], ASGIApp] = lambda gateway, runtime: gateway,
    *,
    limited: bool = True,
) -> TenantedRuntime:
    """Build `system`, or some of its services `only`, for each of `tenants`, on what `engines_of` has for it.

    `within` puts something before each one's gateway. The door is `limited` where it is the first that requests come
    to. Raises what `build` raises.
    """
    foreground, of = Foreground(), dict[str, Runtime]()
    async with AsyncExitStack() as resources:
        resources.push_async_callback(common.broker.close)
        for tenant in tenants:
            belongs = current_tenant.set(tenant.name)
            try:
                of[tenant.name] = await build(system, engines_of(tenant), world, only, foreground)
            finally:
                current_tenant.reset(belongs)
            resources.push_async_callback(of[tenant.name].close)
        checks = [_states_of(name, runtime) for name, runtime in of.items()]
        health = Health(world.clock, [common.queries.health, *checks])
        door = TenantDoor(
            {name: within(runtime.gateway, runtime) for name, runtime in of.items()},
            EmbeddedGateway({}, health, {}, foreground),
            rates_of(tenants, world) if limited else {},
        )
        return TenantedRuntime(of, door, health, world, common, resources.pop_all())
    raise AssertionError("unreachable: the block returns or raises")


def rates_of(tenants: Sequence[Tenant], world: World) -> Mapping[str, RateWindow]:
    """The windows of those whose requests are counted."""
    return {each.name: RateWindow(each.requests, world.clock) for each in tenants if each.requests is not None}


def _states_of(tenant: str, runtime: Runtime) -> Callable[[], Sequence[HealthState]]:
    return lambda: [replace(state, name=f"{tenant}/{state.name}") for state in runtime.health.states()]


def _as_tenant(name: str, work: Callable[[], Awaitable[None]]) -> Loop:
    async def run() -> None:
        current_tenant.set(name)  # of the task that the supervisor has made for it
        await work()

    return run

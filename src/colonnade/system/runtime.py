"""A system at work in one process: stores opened, objects built, loops ready to run."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from colonnade.gateway import EmbeddedGateway
from colonnade.messages import Message
from colonnade.messages.codec import MessageCodec
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import Health
from colonnade.persistence.store import Store
from colonnade.system.assembly import Loop, RunningService, ServiceBuilder, leasing_of
from colonnade.system.engines import Engines
from colonnade.system.mediation import MessageHandlers
from colonnade.system.service import System
from colonnade.system.topology import Topology, topology_of
from colonnade.world import World

__all__ = ["Runtime", "build"]


@dataclass(frozen=True)
class Runtime:
    """A system at work: its services, its one ASGI application, and what must run for it to live."""

    topology: Topology
    codec: MessageCodec
    services: Mapping[str, RunningService]
    gateway: EmbeddedGateway
    health: Health
    world: World
    engines: Engines
    _resources: AsyncExitStack

    @property
    def loops(self) -> Mapping[str, Loop]:
        """The background work of all services and of what carries them, by name."""
        own = {name: loop for service in self.services.values() for name, loop in service.loops.items()}
        return {**self.engines.loops, **own}

    @property
    def phased(self) -> Sequence[Health]:
        """All whose phase is that of the host."""
        return [self.health, *(service.health for service in self.services.values())]

    async def close(self) -> None:
        """Let go of everything; loops must have been stopped."""
        await self._resources.aclose()


async def build(
    system: System,
    engines: Engines,
    world: World,
    only: Collection[str] | None = None,
    foreground: Foreground | None = None,
) -> Runtime:
    """Open the stores of `system`, or of some of its services `only`, and put their objects together.

    The whole system is checked all the same; raises `InvalidSystem`. In the `foreground` may be the requests to others
    of the process.
    """
    services = [service for service in system.services if only is None or service.name in only]
    topology = topology_of(system)
    codec = MessageCodec(topology.names)
    async with AsyncExitStack() as resources:
        foreground = foreground or Foreground()
        resources.push_async_callback(engines.broker.close)
        resources.push_async_callback(engines.queries.close)
        owners: dict[type[Message], MessageHandlers] = {}
        stores: dict[str, Store] = {}
        for service in services:
            store = await engines.open_store(service.name)
            resources.push_async_callback(store.close)
            await store.versions.enter(topology.lines[service.name])
            stores[service.name] = store
        # What a store begins with is made by one instance
        starting = await resources.enter_async_context(AsyncExitStack())
        if engines.shared:
            for store in stores.values():
                if engines.former is not None:
                    await store.leases.release_all(engines.former)
                await starting.enter_async_context(leasing_of(store, engines, world).held("start"))
        builders = [
            ServiceBuilder(service, topology, codec, stores, engines, world, foreground, owners, resources)
            for service in services
        ]
        running = {builder.name: await builder.build() for builder in builders}
        for builder in builders:
            await builder.open_for_business()
        await starting.aclose()
        states = [service.health.states for service in running.values()]
        if engines.tenant is None:  # what tenants share is told once
            states.append(engines.queries.health)
        health = Health(world.clock, states)
        gateway = EmbeddedGateway(
            {builder.name: builder.app for builder in builders},
            health,
            {name: service.health for name, service in running.items()},
            foreground,
        )
        return Runtime(topology, codec, running, gateway, health, world, engines, resources.pop_all())
    raise AssertionError("unreachable: the block returns or raises")

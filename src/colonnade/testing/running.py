"""A whole system, running in the test's own process on stores of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from colonnade.messages import Command, Query
from colonnade.persistence import DataDirectory
from colonnade.persistence.unit import Unit
from colonnade.security.tenants import Tenant
from colonnade.system import System
from colonnade.system.engines import Engines, embedded_engines, engines_of, sqlite_stores
from colonnade.system.hosts.data_directory import TENANTS
from colonnade.system.hosts.supervision import Supervisor
from colonnade.system.mediation import RoutingMediator
from colonnade.system.runtime import Runtime, build
from colonnade.system.tenants import TenantedRuntime, build_for_tenants
from colonnade.testing.http import HttpAnswer, request
from colonnade.world import World, real_world

__all__ = ["RunningSystem", "RunningTenants", "running_system", "running_tenants"]

R = TypeVar("R")

SETTLE_SECONDS = 30.0


class NotSettled(AssertionError):
    """The system still has something to do."""

    def __init__(self, waiting: Mapping[str, str]) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return "not settled: " + "; ".join(f"{name}: {what}" for name, what in self.waiting.items())


class RunningSystem:
    """Speaks to a running system as its users and its operators do."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        owners = {
            message: runtime.services[service].handlers for message, service in runtime.topology.handled_by.items()
        }
        self._mediator = RoutingMediator("", owners, runtime.topology.handled_by, None, runtime.world)
        self._committed = asyncio.Event()
        for service in runtime.services.values():
            service.store.watch(lambda _: self._committed.set())

    async def execute(self, command: Command[R]) -> R:
        """Carry `command` out; raises its handler's refusal."""
        return await self._mediator.execute(command)

    async def ask(self, query: Query[R]) -> R:
        """Answer `query`; raises its handler's refusal."""
        return await self._mediator.ask(query)

    async def request(
        self, method: str, target: str, *, json: object = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Send a request through the gateway."""
        if json is None:
            return await request(self.runtime.gateway, method, target, headers=headers)
        return await request(self.runtime.gateway, method, target, json=json, headers=headers)

    async def settled(self, within: float = SETTLE_SECONDS) -> None:
        """Return when no message waits and every projection is up to date.

        Parked messages, those that they hold back, and armed timers may stay.

        Raises `NotSettled` after `within` seconds.
        """
        waiting: Mapping[str, str] = {}
        try:
            async with asyncio.timeout(within):
                while True:
                    self._committed.clear()
                    waiting = await self._waiting() or await self._waiting_behind_commits()
                    # A commit while it looked may have moved work to where it had looked already
                    if not waiting and not self._committed.is_set():
                        return
                    try:
                        async with asyncio.timeout(0.05):
                            await self._committed.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            raise NotSettled(waiting) from None

    async def _waiting_behind_commits(self) -> Mapping[str, str]:
        # What is being written just now may add to the work: look again behind it
        now, id = self.runtime.world.clock.micros(), self.runtime.world.ids.new()
        for service in self.runtime.services.values():
            await service.store.commit(Unit(now, id))
        return await self._waiting()

    async def _waiting(self) -> Mapping[str, str]:
        waiting = {}
        for name, service in self.runtime.services.items():
            store = service.store
            if await service.relay.is_behind():
                waiting[name] = "messages have not left"
            elif (unhandled := await store.inbox.unhandled()) and (unhandled := unhandled - await store.inbox.held()):
                waiting[name] = f"{unhandled} messages are not handled"
            else:
                for projector in service.projectors:
                    progress = await projector.progress()
                    if progress.stopped is None and progress.position < progress.end:
                        waiting[name] = f"{projector.name} is at {progress.position} of {progress.end}"
        return waiting


class RunningTenants:
    """Speaks to a system of several tenants as each of them does, and as somebody does who comes through the door."""

    def __init__(self, runtime: TenantedRuntime) -> None:
        self.runtime = runtime
        self._of = {name: RunningSystem(each) for name, each in runtime.of.items()}

    def of(self, tenant: str) -> RunningSystem:
        """The system as `tenant` has it."""
        return self._of[tenant]

    async def request(
        self,
        method: str,
        target: str,
        *,
        json: object = msgspec.UNSET,
        headers: Sequence[tuple[str, str]] | Mapping[str, str] = (),
    ) -> HttpAnswer:
        """Send a request through the door."""
        return await request(self.runtime.door, method, target, json=json, headers=headers)

    async def settled(self) -> None:
        """Return when no tenant has anything to do; raises `NotSettled`."""
        for each in self._of.values():
            await each.settled()


@asynccontextmanager
async def running_tenants(
    system: System,
    data: Path,
    tenants: Sequence[Tenant],
    world: World | None = None,
    *,
    common: Engines | None = None,
    engines: Callable[[Tenant], Engines] | None = None,
) -> AsyncIterator[RunningTenants]:
    """Run `system` for each of `tenants`, in files below `data` unless on other `engines` over `common` ones."""
    world = world or real_world()
    shared = common or embedded_engines(DataDirectory(data), world)

    def own(tenant: Tenant) -> Engines:
        directory = DataDirectory(data / TENANTS / tenant.name)
        directory.path.mkdir(parents=True, exist_ok=True)
        return engines_of(tenant, shared, world, directory, sqlite_stores(directory, world))

    runtime = await build_for_tenants(system, tenants, shared, engines or own, world)
    supervisor = asyncio.create_task(Supervisor(runtime.loops, world).run())
    try:
        yield RunningTenants(runtime)
    finally:
        supervisor.cancel()
        await asyncio.wait([supervisor])
        await runtime.close()


@asynccontextmanager
async def running_system(
    system: System, data: Path, world: World | None = None, *, engines: Engines | None = None
) -> AsyncIterator[RunningSystem]:
    """Run `system` for the length of the block, in files of the data directory `data` unless on other `engines`."""
    world = world or real_world()
    runtime = await build(system, engines or embedded_engines(DataDirectory(data), world), world)
    supervisor = asyncio.create_task(Supervisor(runtime.loops, world).run())
    try:
        yield RunningSystem(runtime)
    finally:
        supervisor.cancel()
        await asyncio.wait([supervisor])
        await runtime.close()

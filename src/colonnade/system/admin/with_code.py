"""The stores of a system that does not run, opened with its code."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from colonnade.persistence import DataDirectory
from colonnade.security.tenants import Tenant
from colonnade.system.admin.perform import Administered
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.data_directory import TENANTS
from colonnade.system.runtime import Runtime, build
from colonnade.system.service import System
from colonnade.world import World

__all__ = ["administered", "built"]


def administered(runtime: Runtime) -> Mapping[str, Administered]:
    """The services of a built system as operations see them."""
    return {
        name: Administered(
            service.store,
            {projector.name: projector for projector in service.projectors},
            service.worker.look_again,
        )
        for name, service in runtime.services.items()
    }


@asynccontextmanager
async def built(system: System, data: DataDirectory, world: World) -> AsyncIterator[Mapping[str, Administered]]:
    """Its services on the stores in `data`, which the caller owns; raises what building the system raises."""
    engines = embedded_engines(data, world)
    if data.path.parent.name == TENANTS:
        engines = replace(engines, tenant=Tenant(data.path.name))
    runtime = await build(system, engines, world)
    try:
        yield administered(runtime)
    finally:
        await runtime.close()

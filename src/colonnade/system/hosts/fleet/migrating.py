"""The stores of a fleet, found to be migrated: on a server that is there, or on its own, which may run or not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from colonnade.system.admin.evidence import read_evidence
from colonnade.system.admin.offline import NoStores
from colonnade.system.hosts.data_directory import DataDirectoryInUse, own_data_directory
from colonnade.system.hosts.fleet.databases import find_database
from colonnade.system.hosts.servers.postgresql import postgresql
from colonnade.system.service import System
from colonnade.world import World

__all__ = ["StoreAt", "stores_of_fleet"]


@dataclass(frozen=True, slots=True)
class StoreAt:
    """A service's database, and the role that owns its tables, where that is not the user of `url`."""

    url: str
    role: str | None = None


@asynccontextmanager
async def stores_of_fleet(
    system: System, data: Path, postgres: str | None, world: World
) -> AsyncIterator[Mapping[str, StoreAt]]:
    """The stores by service, on the server `postgres` or on that of the fleet whose data lie in `data`.

    A service that has never been started has none. The fleet's own server is started where its host does not run.
    Raises `NoStores`, `ServerFailed`.
    """
    if postgres is not None:
        yield await _on_server(system, postgres)
        return
    addresses = read_evidence(data)
    if addresses is None:
        raise NoStores(data)
    folder = data / "fleet" / "postgresql"
    with ExitStack() as owned:
        try:
            owned.enter_context(own_data_directory(data))
        except DataDirectoryInUse:
            folder = Path()  # by its host, whose server runs
        if not folder.joinpath("postgresql", "PG_VERSION").exists():
            yield {service: StoreAt(url) for service, url in addresses.items()}
            return
        async with postgresql(folder, world) as server:
            yield await _on_server(system, server.url())


async def _on_server(system: System, administrator: str) -> Mapping[str, StoreAt]:
    stores = {}
    for service in system.services:
        name = f"{system.name}_{service.name}"
        url = await find_database(administrator, name)
        if url is not None:
            stores[service.name] = StoreAt(url, name)
    return stores

"""The stores of a system that does not run, opened for one operation."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.sqlite.schema import APPLICATION_ID
from colonnade.system.admin.evidence import open_at, read_evidence
from colonnade.system.admin.perform import Administered
from colonnade.system.hosts.data_directory import TENANTS, own_data_directory
from colonnade.system.service import System
from colonnade.world import World

__all__ = [
    "NoStores",
    "holds_stores",
    "open_stores",
    "services_in",
    "stores_in",
    "tenants_in",
]

_MAGIC = b"SQLite format 3\x00"
_APPLICATION_ID = slice(68, 72)


class NoStores(Exception):
    """There is no data of a system in the directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory = directory

    def __str__(self) -> str:
        if names := tenants_in(self.directory):
            return f"{self.directory} holds the data of tenants; choose one of {', '.join(names)} with --tenant."
        return f"There are no stores in {self.directory}; name the data directory of a system with --data."


def stores_in(directory: Path) -> Mapping[str, Path]:
    """The files of the stores in `directory`, by service; raises `NoStores`.

    What providers keep there in databases of their own is passed over; a damaged file is not.
    """
    found = {path.stem: path for path in sorted(directory.glob("*.sqlite3")) if not _is_of_another_program(path)}
    if not found:
        raise NoStores(directory)
    return found


def services_in(directory: Path) -> Sequence[str]:
    """The services of the system whose data directory it is, one process or a fleet; raises `NoStores`."""
    addresses = read_evidence(directory)
    return sorted(addresses) if addresses is not None else list(stores_in(directory))


def holds_stores(directory: Path) -> bool:
    """Whether there are stores of no tenant in `directory`, or a fleet has said where it keeps them."""
    return read_evidence(directory) is not None or any(
        not _is_of_another_program(path) for path in directory.glob("*.sqlite3")
    )


def tenants_in(directory: Path) -> Sequence[str]:
    """The tenants that have data in `directory`."""
    return sorted(path.name for path in (directory / TENANTS).glob("*") if holds_stores(path))


def _is_of_another_program(path: Path) -> bool:
    # The header of an SQLite file: https://www.sqlite.org/fileformat.html#the_database_header
    with path.open("rb") as file:
        header = file.read(_APPLICATION_ID.stop)
    return header.startswith(_MAGIC) and header[_APPLICATION_ID] != APPLICATION_ID.to_bytes(4, "big")


@asynccontextmanager
async def open_stores(
    directory: Path, world: World, system: System | None = None
) -> AsyncIterator[Mapping[str, Administered]]:
    """Own `directory` and open its stores, with the code of `system` where an operation needs it.

    The stores of a fleet are opened beside its instances, which may run, and without code.
    Raises `NoStores`, `DataDirectoryInUse` and what opening a store or building the system raises.
    """
    addresses = read_evidence(directory)
    if addresses is not None:
        async with _of_fleet(addresses, world) as services:
            yield services
        return
    files = stores_in(directory)
    with own_data_directory(directory) as data:
        async with AsyncExitStack() as opened:
            if system is not None:
                # All that a system is built with takes a quarter of the time in which a command has begun
                from colonnade.system.admin.with_code import built

                yield await opened.enter_async_context(built(system, data, world))
                return
            services = {}
            for name, path in files.items():
                store = await open_sqlite_store(path, world)
                opened.push_async_callback(store.close)
                services[name] = Administered(store)
            yield services


@asynccontextmanager
async def _of_fleet(addresses: Mapping[str, str], world: World) -> AsyncIterator[Mapping[str, Administered]]:
    async with AsyncExitStack() as opened:
        services = {}
        for name, address in addresses.items():
            store = await open_at(address, world)
            opened.push_async_callback(store.close)
            services[name] = Administered(store)
        yield services

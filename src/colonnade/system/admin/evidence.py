"""The stores of a system, read beside it: files in its data directory, or where its fleet says they are."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urldefrag

import msgspec

from colonnade.persistence import DataDirectory
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.world import World

__all__ = ["forget_evidence", "open_at", "open_to_read", "read_evidence", "write_evidence"]

_NAME = "stores.json"


def write_evidence(data: DataDirectory, stores: Mapping[str, str]) -> None:
    """Say in the data directory where the store of each service is; its owner alone may read that.

    Where it is in a schema of its own, that is the fragment of the address.
    """
    path = data.path / "fleet" / _NAME
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(stores))


def forget_evidence(data: DataDirectory) -> None:
    """The stores are files in the data directory from now on."""
    (data.path / "fleet" / _NAME).unlink(missing_ok=True)


def read_evidence(data: Path) -> Mapping[str, str] | None:
    """The addresses of the stores by service; None where no fleet keeps its data there."""
    path = data / "fleet" / _NAME
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else None


async def open_at(address: str, world: World, *, read_only: bool = False) -> Store:
    """The store at one of the addresses that `read_evidence` gives; raises `StoreFailed`."""
    from colonnade.persistence.postgres import open_postgres_store

    url, schema = urldefrag(address)
    return await open_postgres_store(url, world, schema=schema or "public", read_only=read_only)


@asynccontextmanager
async def open_to_read(data: Path, services: Collection[str], world: World) -> AsyncIterator[Mapping[str, Store]]:
    """The stores of `services`, opened for reading only.

    Raises `FileNotFoundError` for a file that is missing, `NotAStore`, `NewerStore`, `StoreFailed`.
    """
    stores: dict[str, Store] = {}
    addresses = read_evidence(data)
    async with AsyncExitStack() as opened:
        for service in services:
            if addresses is None:
                stores[service] = await open_sqlite_store(data / f"{service}.sqlite3", world, read_only=True)
            else:
                stores[service] = await open_at(addresses[service], world, read_only=True)
            opened.push_async_callback(stores[service].close)
        yield stores

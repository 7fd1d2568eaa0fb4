"""Two services that may share a process or not: a shelf, and a desk that asks it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from colonnade.application import Mediator
from colonnade.brokers.memory import MemoryBroker
from colonnade.caching.memory import MemoryCache
from colonnade.caching.query_cache import QueryCache
from colonnade.discovery import Address
from colonnade.discovery.files import FileRegistry, write_registry
from colonnade.messages.codec import MessageCodec
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence import DataDirectory
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Store
from colonnade.presentation.balancing import Balancer
from colonnade.system import Service, System
from colonnade.system.engines import Engines
from colonnade.system.hosts.fleet.elsewhere import HttpElsewhere
from colonnade.system.hosts.fleet.internal import Internal
from colonnade.system.hosts.listening import Server, bound
from colonnade.system.mediation import RoutingMediator
from colonnade.system.runtime import Runtime, build
from colonnade.system.topology import topology_of
from colonnade.world import World, real_world
from tests.fleet import contracts
from tests.fleet.contracts import AlreadyTaken, Book, BooksOn, NoSuchShelf, PutBack, TakeBook, Wait

SLIP = UUID(int=5)
SINCE = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
seen: list[Context | None] = []


@dataclass(frozen=True)
class BooksOnHandler:
    """Answers of two books."""

    async def __call__(self, query: BooksOn) -> tuple[Book, ...]:
        seen.append(current_context.get(None))
        if query.shelf != "novels":
            raise NoSuchShelf(query.shelf)
        return (Book(1, "Emma", Decimal("9.90")), Book(2, "Käsebier", Decimal("12.00")))


@dataclass(frozen=True)
class TakeBookHandler:
    """Lends the first book only."""

    async def __call__(self, command: TakeBook) -> UUID:
        seen.append(current_context.get(None))
        if command.number != 1:
            raise AlreadyTaken(command.number, SINCE, Decimal("0.50"))
        return SLIP


@dataclass(frozen=True)
class PutBackHandler:
    """Takes everything."""

    async def __call__(self, command: PutBack) -> None: ...


@dataclass(frozen=True)
class WaitHandler:
    """Never answers."""

    async def __call__(self, query: Wait) -> int:
        await asyncio.Event().wait()
        return 1


shelf = Service("shelf", contracts=contracts, handlers=[BooksOnHandler, TakeBookHandler, PutBackHandler, WaitHandler])
desk = Service("desk")
library = System("library", [shelf, desk])


@dataclass(frozen=True)
class Library:
    """The library as the desk sees it."""

    mediator: Mediator
    shelf_runtime: Runtime
    registry: Path
    address: Address


@asynccontextmanager
async def apart(folder: Path) -> AsyncIterator[Library]:
    """The shelf behind HTTP, the desk here."""
    world = real_world()
    async with AsyncExitStack() as running:
        runtime = await build(library, _engines(folder, world), world, only={"shelf"})
        running.push_async_callback(runtime.close)
        listener = running.enter_context(bound("127.0.0.1", 0))
        server = Server(Internal(runtime.gateway, runtime))
        serving = asyncio.create_task(server.serve([listener]))
        running.push_async_callback(_ended, server, serving)
        await server.ready.wait()
        address = Address("127.0.0.1", listener.getsockname()[1])
        registry = folder / "registry.json"
        write_registry(registry, {"shelf": [address]})
        balancer = Balancer(FileRegistry(registry, world.clock))
        running.callback(balancer.close)
        topology = topology_of(library)
        elsewhere = HttpElsewhere(balancer, MessageCodec(topology.names), world.clock)
        yield Library(RoutingMediator("desk", {}, topology.handled_by, elsewhere, world), runtime, registry, address)


@asynccontextmanager
async def together(folder: Path) -> AsyncIterator[Library]:
    """Both in one process."""
    world = real_world()
    runtime = await build(library, _engines(folder, world), world)
    handlers = dict.fromkeys(runtime.topology.handled_by, runtime.services["shelf"].handlers)
    try:
        mediator = RoutingMediator("desk", handlers, runtime.topology.handled_by, None, world)
        yield Library(mediator, runtime, folder, Address("", 0))
    finally:
        await runtime.close()


async def _ended(server: Server, serving: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await serving


def _engines(folder: Path, world: World) -> Engines:
    async def open_store(service: str) -> Store:
        return await open_sqlite_store(folder / f"{service}.sqlite3", world)

    queries = QueryCache(MemoryCache(world.clock), world)
    return Engines(DataDirectory(folder), open_store, MemoryBroker(), "me", queries)

"""A GET of a product page, anew and from the caches. python -m benchmarks.cached_get anew|memory|valkey|304"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop
from sqlalchemy import Column, Integer, MetaData, String, Table, select

from benchmarks.measuring import Measured, Stopwatch, tell
from colonnade.application import upsert
from colonnade.caching.query_cache import QueryCache
from colonnade.caching.valkey import ValkeyCache
from colonnade.messages import Command, Query, Value
from colonnade.persistence import DataDirectory, Reads, Tables
from colonnade.presentation import Api, Cache, Get
from colonnade.system import Service, System
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.servers.valkey import valkey_server
from colonnade.testing.http import request
from colonnade.testing.running import running_system
from colonnade.world import real_world

REQUESTS = 4_000
AT_ONCE = 8
PRODUCTS = 500

metadata = MetaData()
products = Table(
    "products", metadata, Column("id", Integer, primary_key=True), *(Column(f"c{n}", String) for n in range(5))
)


class Product(Value):
    id: int
    c0: str
    c1: str
    c2: str
    c3: str
    c4: str


class Fill(Command):
    pass


class ProductById(Query[Product]):
    id: int


class ProductAnew(Query[Product]):
    id: int


@dataclass(frozen=True)
class FillHandler:
    tables: Tables

    async def __call__(self, command: Fill) -> None:
        self.tables.write(
            *(upsert(products, id=id, **{f"c{n}": f"text {id}.{n} " * 3 for n in range(5)}) for id in range(PRODUCTS))
        )


async def _read(reads: Reads, id: int) -> Product:
    row = await reads.one(select(products).where(products.c.id == id))
    return Product(*row)


@dataclass(frozen=True)
class ProductByIdHandler:
    reads: Reads

    async def __call__(self, query: ProductById) -> Product:
        return await _read(self.reads, query.id)


@dataclass(frozen=True)
class ProductAnewHandler:
    reads: Reads

    async def __call__(self, query: ProductAnew) -> Product:
        return await _read(self.reads, query.id)


shop = System(
    "bench",
    [
        Service(
            "shop",
            handlers=[FillHandler, ProductByIdHandler, ProductAnewHandler],
            tables=metadata,
            api=Api(
                Get("/products/{id}", ProductById, cache=Cache(seconds=600, public=True)),
                Get("/anew/{id}", ProductAnew),
            ),
            opening=lambda: [Fill()],
        )
    ],
)


@asynccontextmanager
async def queries(kind: str, folder: Path) -> AsyncIterator[QueryCache | None]:
    """The cache of a kind; None for that of the embedded host."""
    if kind != "valkey":
        yield None
        return
    world = real_world()
    async with valkey_server(folder / "valkey", world) as server:
        cache = ValkeyCache(server.url, "bench", world)
        running = asyncio.create_task(cache.run())
        while cache.health():
            await world.sleep(0.01)
        yield QueryCache(cache, world)
        running.cancel()


async def measure(kind: str, folder: Path) -> Measured:
    """Requests through the gateway, without the network before it."""
    engines = embedded_engines(DataDirectory(folder), real_world())
    path = "/api/shop/anew" if kind == "anew" else "/api/shop/products"
    async with queries(kind, folder) as cache:
        engines = engines if cache is None else replace(engines, queries=cache)
        async with running_system(shop, folder, engines=engines) as system:
            gateway = system.runtime.gateway
            etags: dict[int, dict[str, str]] = {}
            for id in range(PRODUCTS):
                first = await request(gateway, "GET", f"{path}/{id}")
                assert first.status == 200
                etags[id] = {"if-none-match": first.headers["etag"]} if kind == "304" else {}

            async def ask(worker: int) -> None:
                for number in range(worker, REQUESTS, AT_ONCE):
                    id = number % PRODUCTS
                    answer = await request(gateway, "GET", f"{path}/{id}", headers=etags[id])
                    assert answer.status == (304 if kind == "304" else 200)

            stopwatch = Stopwatch()
            with stopwatch.running():
                await asyncio.gather(*(ask(worker) for worker in range(AT_ONCE)))
            return stopwatch.of(REQUESTS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data:
        measured = uvloop.run(measure(sys.argv[1], Path(data)))
    tell(measured)

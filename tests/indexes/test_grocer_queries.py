"""No statement of Grocer, nor of the kit on its behalf, reads a large table from one end to the other."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from grocer.catalog.application.queries import ProductById, SearchProducts
from grocer.catalog.contracts import QuotePrices
from grocer.delivery.application.queries import ShipmentsOfOrder
from grocer.inventory.application.queries import StockOf
from grocer.ordering.application.queries import OrderById, OrdersByCustomer
from grocer.payments.application.queries import PaymentsOfOrder
from grocer.shop.day import load_day
from grocer.system import grocer

from colonnade.messages import Query
from colonnade.persistence import DataDirectory
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import Store
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.testing import RunningSystem, running_system
from colonnade.world import real_world
from tests.indexes.filling import ROWS, fill, tables_of
from tests.indexes.spy import Spy, spying
from tests.indexes.test_kit_queries import ALLOWED as ALLOWED_TO_THE_KIT
from tests.indexes.test_kit_queries import FILLED as TABLES_OF_THE_KIT
from tests.indexes.test_kit_queries import TINY

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WORLD = real_world()
ORDERS = "/api/ordering/orders"
ORDERS_PLACED = 4

ALLOWED = {
    **ALLOWED_TO_THE_KIT,
    ".words LIKE": "a word is looked for anywhere in a text, which no index of PostgreSQL's own finds; there are "
    "92,331 products, and what a search found is kept for a while",
    "weigh_messages(": "weighs what has come since the last look, 5,000 messages a page",
}
FILLED_HERE = ("events", "outbox")
SMALL = {
    **TINY,
    **dict.fromkeys(TABLES_OF_THE_KIT.keys() - FILLED_HERE, "the kit's own test reads it with a hundred thousand rows"),
    "stores__0": "457 shops",
}

_BEFORE_ALL = {"position": "g - 200000", "name": "'shop.Filler' || g % 20", "stream": "'Filler/' || g", "version": "1"}
_LEFT = {"seq": "g - 200000", "topic": "'filler'", "partition": "g % 8", "time": f"{WORLD.clock.micros()}"}


@dataclass
class Shop:
    """Grocer at work on tables of ten or, in a proof, a hundred thousand rows."""

    system: RunningSystem
    spy: Spy

    async def ask(self, query: Query[Any]) -> Any:
        """Ask the service that answers it."""
        runtime = self.system.runtime
        service = runtime.topology.handled_by[type(query)]
        return await runtime.services[service].handlers.ask(query)

    async def get(self, path: str) -> Any:
        """The JSON of a GET."""
        answer = await self.system.request("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[10_000, pytest.param(ROWS, marks=pytest.mark.proof)]
)
async def shop(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    """Grocer on PostgreSQL, a schema a service, filled once it has opened."""
    connection = await asyncpg.connect(postgres.url())
    prefix = f"grocer_{WORLD.ids.new().hex}_"
    data = tmp_path_factory.mktemp("grocer")

    async def open_store(service: str) -> Store:
        return await open_postgres_store(postgres.url(), WORLD, schema=prefix + service)

    engines = replace(embedded_engines(DataDirectory(data), WORLD), open_store=open_store)
    with pytest.MonkeyPatch.context() as monkeypatch:
        spy = spying(monkeypatch)
        async with running_system(grocer, data, engines=engines) as system:
            await system.settled(60.0)
            for service in system.runtime.services:
                await _fill(connection, prefix + service, request.param)
            yield Shop(system, spy)
    for each in grocer.services:
        await connection.execute(f'DROP SCHEMA "{prefix}{each.name}" CASCADE')
    await connection.close()


async def _fill(connection: asyncpg.Connection, schema: str, rows: int) -> None:
    for partition in range(8):
        await connection.execute(f"INSERT INTO \"{schema}\".relayed VALUES ('filler', {partition}, 0)")
    tables: dict[str, Mapping[str, str]] = {"events": _BEFORE_ALL, "outbox": _LEFT}
    for table in await tables_of(connection, schema):
        if table not in SMALL and table not in tables:
            tables[table] = {}
    await fill(connection, schema, tables, rows)


def _queries(customer: UUID, order: UUID) -> list[Query[Any]]:
    shelf = min(load_day().prices)
    return [
        ProductById(shelf.product_id),
        SearchProducts(),
        SearchProducts(department="grocery", after=None, limit=5),
        SearchProducts(search="milk white"),
        SearchProducts(search="no such word", department="nowhere"),
        QuotePrices(shelf.store_id, (shelf.product_id,)),
        ShipmentsOfOrder(order),
        StockOf(shelf.store_id, shelf.product_id),
        OrderById(order),
        OrdersByCustomer(customer),
        PaymentsOfOrder(order),
    ]


async def test_every_query_of_grocer_is_asked(shop: Shop) -> None:
    """A new query is asked here, or this fails."""
    handled = {message for message in shop.system.runtime.topology.handled_by if issubclass(message, Query)}
    assert {type(query) for query in _queries(UUID(int=1), UUID(int=2))} == handled


async def test_no_statement_of_grocer_reads_a_large_table_whole(shop: Shop) -> None:
    """Orders are placed, fulfilled and cancelled, and every query is asked again and again."""
    shelf = min(load_day().prices)
    customer = UUID(int=7)
    body = {
        "customer_id": str(customer),
        "store_id": shelf.store_id,
        "lines": [{"product_id": shelf.product_id, "quantity": 1}],
    }
    shop.spy.looking = True
    for _ in range(ORDERS_PLACED):
        answer = await shop.system.request("POST", ORDERS, json=body)
        assert answer.status == 201, answer.body
        order = UUID(answer.json()["id"])
        await shop.system.settled(60.0)
        for query in _queries(customer, order):
            await shop.ask(query)
        await shop.system.request("POST", f"{ORDERS}/{order}/cancel")
        await shop.system.settled(60.0)
    page = await shop.get(f"{ORDERS}?customer_id={customer}&limit=3")
    assert len(page["items"]) == 3
    await shop.get(f"{ORDERS}?customer_id={customer}&limit=3&after={page['next']}")
    shop.spy.looking = False
    if findings := shop.spy.findings(SMALL, ALLOWED):
        pytest.fail("\n\n".join(map(str, findings)))
    assert len(shop.spy.statements) > 50

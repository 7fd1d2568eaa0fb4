"""What the suites of a store stand on: a database of their own, and units of work to commit to it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Column, Integer, MetaData, Table, insert, select, update
from sqlalchemy.schema import CreateTable

from colonnade.persistence.store import Committed, Store
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.unit import Append, Effect, Fence, NewEvent, Unit, Write
from colonnade.world import real_world

__all__ = [
    "FOR_EVER",
    "NOW",
    "WORLD",
    "Database",
    "StoreSuite",
    "append",
    "commit",
    "missing",
    "numbers",
    "sale",
    "sales",
    "sql",
    "unit",
    "with_sales",
]

WORLD = real_world()
NOW = 1_700_000_000_000_000
FOR_EVER = 1 << 60

Database = Callable[[], Awaitable[Store]]
"""Opens the store on one database; a second time once the first was closed."""

sales = Table("sales", MetaData(), Column("number", Integer, primary_key=True), Column("total", Integer))


class StoreSuite(ABC):
    """A suite of one idea. Each test has a database of its own."""

    machine_runs: ClassVar[int] = 25
    """How often each machine is run, with a database for each time: fewer where one takes long to make and to ask."""

    @abstractmethod
    def empty_database(self) -> AbstractAsyncContextManager[Database]:
        """A database with nothing in it."""

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """A store on an empty database, that has a table of sales."""
        async with self.empty_database() as database:
            store = await with_sales(database)
            try:
                yield store
            finally:
                await store.close()


async def with_sales(database: Database) -> Store:
    """A store that was opened for the first time, with a table of sales."""
    store = await database()
    await store.define([sql(store, CreateTable(sales))])
    return store


def unit(*effects: Effect, time: int = NOW, fence: Fence | None = None, **fields: Any) -> Unit:
    """A unit of work of these effects."""
    return Unit(time, fields.pop("correlation_id", UUID(int=1)), effects=list(effects), fence=fence, **fields)


async def commit(store: Store, *effects: Effect, **fields: Any) -> Committed:
    """Commit a unit of these effects."""
    return await store.commit(unit(*effects, **fields))


def append(stream: str, expected: int, *names: str) -> Append:
    """Events of these stored names, or one, behind the `expected` that a stream has."""
    place = hash((stream, expected)) & 0xFFFF_FFFF
    return Append(
        stream,
        expected,
        [
            NewEvent(UUID(int=place << 16 | number), name, 1, b'{"number":%d}' % number)
            for number, name in enumerate(names or ("shop.Sold",))
        ],
    )


def sale(store: Store, number: int) -> Write:
    """A new row in the table of sales."""
    return Write(sql(store, insert(sales).values(number=number, total=0)), (number, 0))


def missing(store: Store, number: int) -> Write:
    """A change of a row that must be there."""
    changed = update(sales).where(sales.c.number == number).values(total=number)
    return Write(sql(store, changed), (number, number), must_hit=True)


async def numbers(store: Store) -> Sequence[int]:
    """The sales that are there."""
    (rows,) = await store.query([(sql(store, select(sales.c.number).order_by(sales.c.number)), ())])
    return [number for (number,) in rows]


def sql(store: Store, statement: Any) -> str:
    """A statement on tables of that name, in the words of the store's engine."""
    return placed(str(statement.compile(dialect=store.dialect)), lambda table: table)

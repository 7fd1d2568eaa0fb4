"""The read models of one service: which physical tables stand for the declared ones, and how far they are."""

import asyncio
import zlib
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import BindParameter, Column, Select, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.visitors import replacement_traverse

from colonnade.application.writes import RowWrite
from colonnade.persistence.reads import StaleRead, required_position
from colonnade.persistence.store import Store
from colonnade.persistence.tables.compiling import WriteCompiler, create_statements, physical_table
from colonnade.persistence.tables.types import storable
from colonnade.persistence.unit import Write
from colonnade.persistence.work import work_at_hand

__all__ = ["Build", "ReadModels", "StoreReads", "UnitTables"]

WAIT_SECONDS = 5.0
"""How long a query waits for its projections to come as far as its caller has seen."""


@dataclass(frozen=True)
class Build:
    """One filling of a projection's tables.

    `id` names it in the store: the projection, the shape and version that it is built by, and a number.
    """

    projection: str
    id: str
    names: tuple[str, ...]
    """Stored names of the events that it takes."""
    tables: Mapping[Table, Table]
    """Declared tables to physical ones."""

    @staticmethod
    def of(projection: str, version: int, names: Sequence[str], tables: Sequence[Table], number: int) -> "Build":
        """The build of a projection for the events and tables that its code has now."""
        shape = "|".join(
            repr([column.name, str(column.type), column.primary_key]) for t in tables for column in t.columns
        )
        fingerprint = zlib.crc32("|".join((str(version), *sorted(names), shape)).encode())
        id = f"{projection}@{fingerprint:08x}.{number}"
        suffix = f"{fingerprint:08x}_{number}"
        return Build(
            projection, id, tuple(names), {table: physical_table(table, f"{table.name}__{suffix}") for table in tables}
        )

    def create_statements(self, dialect: Dialect) -> list[str]:
        """What makes its tables."""
        return [statement for table in self.tables.values() for statement in create_statements(table, dialect)]


class ReadModels:
    """The tables of one service, as they are read and written now."""

    def __init__(self, service: str, store: Store) -> None:
        self.service = service
        self.wait_seconds = WAIT_SECONDS
        self.dialect: Dialect = sqlite.dialect(paramstyle="qmark")
        self._store = store
        self._tables: dict[Table, Table] = {}
        self._builds: dict[Table, Build] = {}
        self._queries: dict[Any, _Query] = {}
        self._moved = asyncio.Event()

    async def own(self, tables: Sequence[Table]) -> None:
        """Make tables that no projection owns."""
        physical = {table: physical_table(table, table.name) for table in tables}
        await self._store.define([sql for table in physical.values() for sql in create_statements(table, self.dialect)])
        self._tables.update(physical)

    def use(self, build: Build) -> None:
        """Read a projection's tables from `build` from now on."""
        self._tables.update(build.tables)
        self._builds.update(dict.fromkeys(build.tables, build))
        self._queries.clear()

    def writes(self, tables: Mapping[Table, Table] | None = None) -> WriteCompiler:
        """A compiler of writes, on the tables read now or on those given."""
        return WriteCompiler(self.dialect, self._tables if tables is None else tables)

    def moved(self) -> None:
        """A projection has been written further: those who wait look again."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def read(self, statement: Select[*tuple[Any, ...]], limit: int | None = None) -> list[Any]:
        """The rows of `statement`; raises `StaleRead`."""
        cache_key = cast(Any, statement)._generate_cache_key()
        query = self._queries.get(cache_key.key) if cache_key is not None else None
        if query is None:
            query = _Query(statement, self._tables, self._builds, self.dialect)
            if cache_key is not None:
                self._queries[cache_key.key] = query
        sql, parameters = query.bound(cache_key)
        required = required_position.get()
        checks: Sequence[Build] = ()
        position = 0
        if required is not None and required.service == self.service and required.history == self._store.history:
            checks, position = query.builds, required.position

        def run(connection: Any) -> list[Any] | StaleRead:
            for build in checks:
                stale = _behind(connection, build, position)
                if stale is not None:
                    return stale
            rows = connection.execute(sql, parameters)
            return [query.row(row) for row in rows]

        deadline = asyncio.get_running_loop().time() + self.wait_seconds
        while True:
            moved = self._moved
            found = await self._store.snapshot(run)
            if not isinstance(found, StaleRead):
                return found
            try:
                async with asyncio.timeout_at(deadline):
                    await moved.wait()
            except TimeoutError:
                raise found from None


def _behind(connection: Any, build: Build, position: int) -> StaleRead | None:
    written = connection.execute("SELECT position FROM checkpoints WHERE projection = ?", (build.id,)).get or 0
    if written >= position:
        return None
    marks = ", ".join("?" * len(build.names))
    missing = connection.execute(
        f"SELECT 1 FROM events WHERE position > ? AND position <= ? AND name IN ({marks}) LIMIT 1",
        (written, position, *build.names),
    ).get
    return StaleRead(build.projection, written, position) if missing is not None else None


class _Query:
    """A compiled statement: its SQL, how to bind it and how to make rows."""

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]],
        tables: Mapping[Table, Table],
        builds: Mapping[Table, Build],
        dialect: Dialect,
    ) -> None:
        used: set[Table] = set()

        def replace(element: Any, **_: Any) -> Any:
            if isinstance(element, Table) and element in tables:
                used.add(element)
                return tables[element]
            if isinstance(element, Column) and element.table in tables:
                used.add(element.table)
                return tables[element.table].c[element.key]
            if isinstance(element, BindParameter) and (kept := storable(element.type)) is not element.type:
                return BindParameter(element.key, element.value, type_=kept, unique=element.unique)
            return None

        adapted: Any = replacement_traverse(cast(Any, statement), {}, cast(Any, replace))
        self._compiled = adapted.compile(dialect=dialect)
        # Values come with a statement of the same shape; both name them in the same order
        adapted_key = adapted._generate_cache_key()
        bound = self._compiled.bind_names
        self._places = [bound.get(value) for value in adapted_key.bindparams] if adapted_key is not None else []
        self._sql = str(self._compiled)
        self.builds = tuple({builds[table].id: builds[table] for table in used if table in builds}.values())
        columns = list(adapted.selected_columns)
        self._names: Any = namedtuple("Row", [column.key for column in columns], rename=True)  # type: ignore[misc]
        self._converters: list[Callable[[Any], Any] | None] = [
            column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
        ]
        self._binders = self._compiled._bind_processors

    def bound(self, cache_key: Any) -> tuple[str, list[Any]]:
        """The SQL of one statement of this shape, and its values in the driver's form and order."""
        given = self._compiled.construct_params()
        if cache_key is not None:
            for name, value in zip(self._places, cache_key.bindparams, strict=True):
                if name is not None:
                    given[name] = value.effective_value
        sql, names, binders = self._sql, self._compiled.positiontup, self._binders
        if self._compiled.post_compile_params:
            # IN has as many marks as there are values, so that its SQL differs from one statement to the next
            expanded = self._compiled.construct_expanded_state(given)
            sql, names, binders = expanded.statement, expanded.positiontup, expanded.processors
            given = expanded.parameters
        return sql, [binders[name](given[name]) if name in binders else given[name] for name in names]

    def row(self, values: Sequence[Any]) -> Any:
        """A row with its columns as attributes."""
        return self._names(
            *[
                value if convert is None else convert(value)
                for convert, value in zip(self._converters, values, strict=True)
            ]
        )


class StoreReads:
    """Reads of query handlers."""

    def __init__(self, models: ReadModels) -> None:
        self._models = models

    async def all(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:
        """All rows."""
        return await self._models.read(statement)

    async def first(self, statement: Select[*tuple[Any, ...]]) -> Any:
        """The first row, or None."""
        rows = await self._models.read(statement.limit(1))
        return rows[0] if rows else None


class UnitTables:
    """Writes of command handlers on tables of their service, in the unit of work at hand."""

    def __init__(self, models: ReadModels) -> None:
        self._writes = models.writes()

    def write(self, *writes: RowWrite) -> None:
        """Let `writes` happen when this unit of work is committed."""
        effects: list[Write] = [self._writes.compile(write) for write in writes]
        work_at_hand().effects.extend(effects)

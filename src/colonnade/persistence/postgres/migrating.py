"""Carrying out migrations on one PostgreSQL store, while instances use it.

Each statement waits for its lock for a second at most, since whoever comes after waits behind it, and is tried again.
What has been carried out is written down in the transaction that did it: what was broken off goes on there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import CONTRACT, EXPAND, Line, Part
from colonnade.persistence.migrations.plan import (
    FoundTable,
    Plan,
    PlannedPart,
    Progress,
    check_outcome,
    physical_of,
    plan_line,
)
from colonnade.persistence.migrations.steps import Fill, Rebuild, Statement
from colonnade.persistence.postgres.connections import Connection, connect, end, name_of
from colonnade.persistence.postgres.dialect import postgres_dialect
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, write_failure
from colonnade.persistence.postgres.versions import raise_oldest, version_of
from colonnade.persistence.tables.declared import shape_of
from colonnade.world import World

__all__ = ["LockedOut", "PostgresMigrations", "migrating", "schemas_of"]

LOCK_SECONDS = 1.0
"""How long a statement waits for its lock, and requests behind it."""

INDEX_LOCK_SECONDS = 60.0
"""How long making an index waits for transactions that are older than it; nobody waits behind that."""

PATIENCE_SECONDS = 120.0
"""After so many seconds without getting its lock a statement is given up."""

FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 0.1, 5.0

FILL_ROWS = 500
FILL_REST_SHARE = 1.0
"""For how much of the time that a page of rows took nothing is done, so that others get their turn."""

_APPLICATION = "colonnade-migrate"
_BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

_SCHEMAS = """
    SELECT n.nspname FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace
    JOIN pg_class o ON o.relnamespace = n.oid AND o.relname = 'own_tables' AND o.relkind = 'r'
    WHERE v.relname = 'versions' AND v.relkind = 'r' ORDER BY 1
"""
_BEGUN = "SELECT EXISTS (SELECT FROM {s}.versions WHERE line = $1)"
_DONE = "SELECT number, part, sql FROM {s}.migrations WHERE line = $1 ORDER BY number, part, statement"
_NOTE = "INSERT INTO {s}.migrations (line, number, part, statement, sql) VALUES ($1, $2, $3, $4, $5)"
_REACHED = {
    EXPAND: "UPDATE {s}.versions SET version = $2 WHERE line = $1",
    CONTRACT: "UPDATE {s}.versions SET contracted = $2 WHERE line = $1",
}
_SHAPE = "INSERT INTO {s}.own_tables VALUES ($1, $2, $3) ON CONFLICT (name, version) DO UPDATE SET shape = $3"
_COLUMNS = """
    SELECT c.relname, a.attname, a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = ANY ($2) AND a.attnum > 0 AND NOT a.attisdropped
"""
_INDEXES = "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = $1 AND tablename = ANY ($2)"
_KEY = """
    SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indrelid = $1::text::regclass AND i.indisprimary ORDER BY k.place
"""
_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
_LONGEST = """
    SELECT format('process %s (%s), in a transaction for %s s: %s', pid, application_name,
        extract(epoch FROM clock_timestamp() - xact_start)::integer, left(query, 200))
    FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
"""

Report = Callable[[Progress], None]


class LockedOut(StoreFailed):
    """A statement did not get its lock, as others held theirs for too long."""

    def __init__(self, store: str, sql: str, holder: str | None) -> None:
        held = f"; the longest at work is {holder}" if holder is not None else ""
        super().__init__(store, f"no lock for {PATIENCE_SECONDS:.0f} s for {sql!r}{held}")
        self.sql, self.holder = sql, holder

    def __str__(self) -> str:
        return f"The store {self.store}: {self.reason}. End that, and run colonnade migrate again: it goes on here."


class MigrationUnderWay(StoreFailed):
    """Somebody else migrates the same store."""

    def __init__(self, store: str, pid: int | None) -> None:
        super().__init__(store, f"another colonnade migrate is at work there (PostgreSQL's process {pid})")
        self.pid = pid

    def __str__(self) -> str:
        return f"The store {self.store}: {self.reason}. Wait until it has ended; nothing was changed."


async def schemas_of(url: str, role: str | None = None) -> Sequence[str]:
    """The schemas of a database in which there are stores; raises `StoreFailed`."""
    async with _connected(url, "", role) as connection:
        return [schema for (schema,) in await connection.fetch(_SCHEMAS)]


@asynccontextmanager
async def migrating(
    url: str, world: World, *, schema: str = "public", role: str | None = None
) -> AsyncIterator["PostgresMigrations"]:
    """What migrates the store in `schema`, alone, for the length of the block.

    It needs a connection of its own, not one of a pooler of transactions; tables that it makes belong to `role`, else
    to the user of `url`. Raises `MigrationUnderWay`, `StoreFailed`.
    """
    store = name_of(url, schema)
    async with _connected(url, schema, role) as connection:
        key = f"colonnade migrate {schema}"
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key):
            holder = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()"
            raise MigrationUnderWay(store, await connection.fetchval(holder, _APPLICATION))
        yield PostgresMigrations(connection, store, schema, world)


@asynccontextmanager
async def _connected(url: str, schema: str, role: str | None) -> AsyncIterator[Connection]:
    store = name_of(url, schema)
    try:
        settings = {"application_name": _APPLICATION, **({"search_path": f'"{schema}"'} if schema else {})}
        connection = await connect(url, settings)
        try:
            if role is not None:
                quoted = role.replace('"', '""')
                await connection.execute(f'SET ROLE "{quoted}"')
            yield connection
        finally:
            await end(connection)
    except DRIVER_ERRORS as error:
        raise write_failure(store, error) from error


class PostgresMigrations:
    """Plans and carries out the migrations of one store."""

    def __init__(self, connection: Connection, store: str, schema: str, world: World) -> None:
        self.store = store
        self._connection = connection
        self._schema = schema
        self._world = world
        self._dialect = postgres_dialect(schema)

    async def plan(self, lines: Sequence[Line], *, contract: bool = False) -> Sequence[Plan]:
        """What is to be done on each of `lines`; raises `InvalidMigration`.

        Tables that no code has used yet are made by the first that starts.
        """
        plans = []
        for line in lines:
            if not await self._connection.fetchval(self._on(_BEGUN), line.name):
                continue
            done: dict[tuple[int, Part], list[str]] = {}
            for number, part, sql in await self._connection.fetch(self._on(_DONE), line.name):
                done.setdefault((number, part), []).append(sql)
            version = await version_of(self._connection, self._schema, line.name)
            plan = plan_line(line, version, done, self._dialect, contract=contract)
            if plan.parts:
                check_outcome(plan, await self._found(line), self._dialect)
                plans.append(plan)
        return plans

    async def run(self, plan: Plan, report: Report) -> None:
        """Carry `plan` out; `report` is told before each step.

        Raises `OlderInstances` before anything is contracted under code that could not go on, `LockedOut`.
        """
        line = plan.line
        for part in plan.parts:
            if part.part == EXPAND:
                await self._carry_out(line, part, report)
        contracting = [part for part in plan.parts if part.part == CONTRACT]
        if contracting:
            to = plan.oldest_code
            await self._in_turn(f"refuse code below {to}", lambda: self._refuse_below(line, to))
        for part in contracting:
            await self._carry_out(line, part, report)

    async def _refuse_below(self, line: Line, to: int) -> None:
        await raise_oldest(self._connection, self._schema, self.store, line.name, to)

    async def _carry_out(self, line: Line, part: PlannedPart, report: Report) -> None:
        number = part.migration.number
        for place in range(part.done, len(part.steps)):
            step = part.steps[place]
            report(Progress(part, place + 1))

            async def noted(place: int = place, sql: str = step.sql) -> None:
                await self._connection.execute(self._on(_NOTE), line.name, number, part.part, place + 1, sql)

            match step:
                case Statement(sql, index, True):
                    await self._alone(sql, index)
                    await self._in_turn(sql, noted)
                case Statement(sql):

                    async def run(sql: str = sql, noted: Callable[[], Awaitable[None]] = noted) -> None:
                        await self._connection.execute(sql)
                        await noted()

                    await self._in_turn(sql, run)
                case Fill():

                    def filled(rows: int, place: int = place) -> None:
                        report(Progress(part, place + 1, rows))

                    await self._fill(step, filled)
                    await self._in_turn(step.sql, noted)
                case Rebuild():
                    raise AssertionError("PostgreSQL changes its tables in place")

        async def reached() -> None:
            await self._connection.execute(self._on(_REACHED[part.part]), line.name, number)
            if part.part == EXPAND and number == line.code:
                found = await self._found(line)
                for table in line.tables:
                    if table.name in found:
                        await self._connection.execute(self._on(_SHAPE), table.name, number, shape_of([table]))

        await self._in_turn("write the version down", reached)

    async def _in_turn(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it in a transaction, again and again until its locks are free."""

        async def transaction() -> None:
            async with self._connection.transaction():
                await self._connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS:.3f}s'")
                await work()

        await self._until_free(what, transaction)

    async def _alone(self, sql: str, index: str | None) -> None:
        """Run what stands outside of transactions."""

        async def run() -> None:
            await self._connection.execute(f"SET lock_timeout = '{INDEX_LOCK_SECONDS:.3f}s'")
            if index is not None:
                name = f'"{self._schema}"."{index}"'
                valid = await self._connection.fetchval(_VALID, name)
                if valid:
                    return  # made, and not written down any more
                if valid is not None:
                    await self._connection.execute(f"DROP INDEX CONCURRENTLY {name}")
            await self._connection.execute(sql)

        await self._until_free(sql, run)

    async def _until_free(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        rest = FIRST_REST_SECONDS
        given_up = self._world.clock.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await work()
            except _BUSY as error:
                if self._world.clock.monotonic() > given_up:
                    raise LockedOut(self.store, what, await self._connection.fetchval(_LONGEST)) from error
            # As long again at random, so that it does not meet the same work of others every time
            await self._world.sleep(rest * (1 + self._world.randomness.random()))
            rest = min(rest * 2, LONGEST_REST_SECONDS)

    async def _fill(self, fill: Fill, told: Callable[[int], None]) -> None:
        keys = [str(name) for (name,) in await self._connection.fetch(_KEY, fill.table)]
        columns = ", ".join(f'"{key}"' for key in keys)
        marks = [", ".join(f"${first + place}" for place in range(len(keys))) for first in (1, len(keys) + 1)]
        ends = f"SELECT {columns} FROM {fill.table} WHERE %s ORDER BY {columns} OFFSET {FILL_ROWS - 1} LIMIT 1"
        update = f"UPDATE {fill.table} SET {fill.values} WHERE ({fill.where}) AND %s"
        clock = self._world.clock
        last: Sequence[object] | None = None
        filled = 0
        while True:
            started = clock.monotonic()
            after, values = ("true", ()) if last is None else (f"({columns}) > ({marks[0]})", tuple(last))
            end_of_page = await self._connection.fetchrow(ends % after, *values)
            condition = after
            if end_of_page is not None:
                second = marks[1] if last is not None else marks[0]
                condition += f" AND ({columns}) <= ({second})"
                values = (*values, *end_of_page)
            counts: list[int] = []
            page = partial(self._fill_page, update % condition, values, counts)
            await self._in_turn(fill.sql, page)
            filled += counts[-1]
            if filled:
                told(filled)
            if end_of_page is None:
                return
            last = tuple(end_of_page)
            await self._world.sleep((clock.monotonic() - started) * FILL_REST_SHARE)

    async def _fill_page(self, sql: str, values: Sequence[object], counts: list[int]) -> None:
        counts.append(int((await self._connection.execute(sql, *values)).rpartition(" ")[2]))

    async def _found(self, line: Line) -> dict[str, FoundTable]:
        physical = physical_of(line)
        names = {physical(table.name): table.name for table in line.tables}
        found: dict[str, FoundTable] = {}
        for relation, column, required in await self._connection.fetch(_COLUMNS, self._schema, list(names)):
            found.setdefault(names[relation], FoundTable()).required[column] = required
        for relation, index in await self._connection.fetch(_INDEXES, self._schema, list(names)):
            found[names[relation]].indexes.add(index.removeprefix(f"{relation}_"))
        return found

    def _on(self, sql: str) -> str:
        return sql.replace("{s}", f'"{self._schema}"')

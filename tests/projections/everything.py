"""A table with a column of each kind, on each engine, and nothing between it and the dialect."""

import asyncio
import enum
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import apsw
import pytest
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Executable,
    Float,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Time,
    Uuid,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy.engine.interfaces import Dialect

from colonnade.application.writes import Write
from colonnade.persistence.postgres.connections import connect
from colonnade.persistence.postgres.dialect import postgres_dialect
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.sqlite.opening import prepare_for_statements
from colonnade.persistence.tables.compiling import WriteCompiler
from colonnade.persistence.tables.declared import definitions
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.tables.statements import Statements
from colonnade.persistence.unit import WriteMany
from colonnade.system.hosts.servers.postgresql import PostgresServer

from .homes import ENGINES

KEY = UUID(int=7)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=None)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


class State(enum.Enum):
    """How it stands."""

    OPEN = "is open"
    SHUT = "is shut"


everything = Table(
    "everything",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("text", String),
    Column("whole", BigInteger),
    Column("real", Float),
    Column("exact", Numeric),
    Column("money", Numeric(12, 2)),
    Column("yes", Boolean),
    Column("moment", DateTime(timezone=True)),
    Column("day", Date),
    Column("hour", Time),
    Column("state", Enum(State)),
    Column("tree", JSON),
    Column("bytes", LargeBinary),
    Column("other", Uuid(as_uuid=False)),
    Index("everything_by_exact", "exact"),
)


class Kept:
    """The table `everything` on one engine, written and read with nothing between it and the dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._compiler = WriteCompiler(dialect, str)
        self._statements = Statements(dialect)
        for statement in definitions(everything, dialect):
            self._run(placed(statement, str), [()])

    def write(self, *writes: Write) -> None:
        """Write at once."""
        for effect in self._compiler.compile(writes):
            self._run(effect.sql, effect.rows if isinstance(effect, WriteMany) else [effect.parameters])

    def read(self, statement: Executable, **values: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        prepared = self._statements.prepare(statement, values)
        rows = self._run(prepared.sql(str), [prepared.parameters])
        return [tuple(row) for row in prepared.rows(rows)]

    def told(self, explain: str, statement: Executable) -> str:
        """How a statement would be run, if sorting were dear."""
        prepared = Statements(self.dialect).prepare(statement)
        return str(self._run(f"{explain} {prepared.sql(str)}", [prepared.parameters]))

    def clear(self) -> None:
        """Hold nothing."""
        self.write(delete_from(everything))

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        raise NotImplementedError


class InSqlite(Kept):
    """In memory."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        prepare_for_statements(self._connection)
        super().__init__(sqlite_dialect())

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        return list(self._connection.executemany(sql, rows))


class InPostgres(Kept):
    """In a schema of its own."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._loop = runner
        schema = f"everything_{uuid4().hex}"
        self._connection = runner.run(connect(url, {"enable_sort": "off", "enable_seqscan": "off"}))
        self._run(f"CREATE SCHEMA {schema}", [()])
        super().__init__(postgres_dialect(schema))

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        found = self._loop.run(self._all(sql, rows))
        return [tuple(row) for row in found]

    async def _all(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        return [each for row in rows for each in await self._connection.fetch(sql, *row)]

    def close(self) -> None:
        """Say goodbye."""
        self._loop.run(self._connection.close())


@pytest.fixture(scope="module", params=ENGINES)
def memory(request: pytest.FixtureRequest) -> Iterator[Kept]:
    """One table for all examples, on the engine that the test is run for."""
    if request.param == "sqlite":
        yield InSqlite()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with asyncio.Runner() as runner:
        kept = InPostgres(runner, server.url())
        try:
            yield kept
        finally:
            kept.close()

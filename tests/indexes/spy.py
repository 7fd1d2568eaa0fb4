"""Looks over the shoulder of a store's connections: what each statement reads, nested ones in functions included.

The server counts, for each table, the sequential scans and the rows that a transaction reads. The spy asks for these
counts on the statement's own connection before and after it, and so knows them for each statement by itself.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

from colonnade.persistence.postgres import connections
from colonnade.persistence.postgres.connections import Connection

__all__ = ["MOST_ROWS", "Finding", "Spy", "spying"]

MOST_ROWS = 2_000
"""More rows of one table than this no statement may look at through an index: it is a sequential scan in disguise."""

_FLUSH = "SELECT pg_stat_force_next_flush()"
_COUNTS = """
    SELECT relname, seq_scan, seq_tup_read, coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
    WHERE seq_scan > 0 OR idx_scan > 0
"""
_STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")

_Counts = Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Finding:
    """A statement that reads a table from one end to the other, or too much of it."""

    table: str
    sql: str
    how: str
    plan: str

    def __str__(self) -> str:
        return f"{self.how} of {self.table} by:\n{self.sql.strip()}\n{self.plan}"


@dataclass
class Spy:
    """What the statements of a store have read since it began to look."""

    looking: bool = False
    statements: set[str] = field(default_factory=set)
    found: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def findings(self, tiny: Mapping[str, str], allowed: Mapping[str, str] = MappingProxyType({})) -> list[Finding]:
        """All that is not of a `tiny` table, nor by a statement that holds one of `allowed`."""
        return [
            finding
            for finding in self.found.values()
            if finding.table not in tiny and not any(part in finding.sql for part in allowed)
        ]

    async def see(self, connection: Connection, sql: str, values: Sequence[Any], before: _Counts) -> None:
        """Compare the counts after a statement with those `before` it."""
        self.statements.add(sql)
        for table, (scans, read, fetched) in (await counts(connection)).items():
            scans_before, read_before, fetched_before = before.get(table, (0, 0, 0))
            how = ""
            if scans > scans_before:
                how = f"A sequential scan, {read - read_before} rows,"
            elif fetched - fetched_before > MOST_ROWS:
                how = f"A read of {fetched - fetched_before} rows through an index"
            if how and (table, sql) not in self.found:
                self.found[table, sql] = Finding(table, sql, how, await plan_of(connection, sql, values))


async def counts(connection: Connection) -> _Counts:
    """What the transaction at hand has read, table by table."""
    return {table: (scans, read, fetched) for table, scans, read, fetched in await connection.fetch(_COUNTS)}


async def plan_of(connection: Connection, sql: str, values: Sequence[Any]) -> str:
    """How the server carries a statement out; of a function it shows the call alone."""
    return "\n".join(line for (line,) in await connection.fetch(f"EXPLAIN (VERBOSE) {sql}", *values))


class Watched:
    """A connection under the spy's eyes; all that it has besides is the driver's."""

    def __init__(self, connection: Any, spy: Spy) -> None:
        self._connection = connection
        self._spy = spy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def _watch(self, method: str, sql: str, values: Sequence[Any], sample: Sequence[Any]) -> Any:
        run = getattr(self._connection, method)
        if not self._spy.looking or not sql.lstrip().upper().startswith(_STATEMENTS):
            return await run(sql, *values)
        await self._connection.fetchval(_FLUSH)
        before = await counts(self._connection)
        try:
            return await run(sql, *values)
        finally:  # who loses has read as well
            if not self._is_aborted():
                await self._spy.see(self._connection, sql, sample, before)

    def _is_aborted(self) -> bool:
        """Whether nothing can be asked before the transaction has ended."""
        in_transaction: bool = self._connection.is_in_transaction()
        return self._connection.is_closed() or (in_transaction and sys.exc_info()[0] is not None)

    async def execute(self, sql: str, *values: Any) -> Any:
        """As the driver does."""
        return await self._watch("execute", sql, values, values)

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Any:
        """As the driver does."""
        rows = list(rows)
        return await self._watch("executemany", sql, [rows], rows[0])

    async def fetch(self, sql: str, *values: Any) -> Any:
        """As the driver does."""
        return await self._watch("fetch", sql, values, values)

    async def fetchmany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Any:
        """As the driver does."""
        rows = list(rows)
        return await self._watch("fetchmany", sql, [rows], rows[0])

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        """As the driver does."""
        return await self._watch("fetchrow", sql, values, values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """As the driver does."""
        return await self._watch("fetchval", sql, values, values)


def spying(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """A spy on every connection of stores that are opened from now on, at the one place where they are made."""
    spy = Spy()
    connect = connections.connect

    async def watched(url: str, settings: Mapping[str, str], *more: Any, **options: Any) -> Connection:
        return Watched(await connect(url, {**settings, "track_functions": "all"}, *more, **options), spy)

    monkeypatch.setattr(connections, "connect", watched)
    return spy

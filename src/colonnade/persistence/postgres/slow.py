"""Statements that took long, told in the log with their plan; never with their values, which may be personal."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import asyncpg

from colonnade.observability.logs import get_logger
from colonnade.persistence.failures import StoreClosed, StoreFailed
from colonnade.world import Clock

__all__ = ["SLOW_SECONDS", "SlowStatements", "TimedConnection"]

SLOW_SECONDS = 0.2
"""A statement that took longer is told, waiting for locks and for a busy event loop included."""

TOLD_EVERY_SECONDS = 60.0
"""How often one statement is told, at most."""

WAITING = 20
"""So many statements wait to be explained; what is slow besides is told the next time."""

EXPLAIN_SECONDS = 5.0

_REMEMBERED = 1_000

_SQL_CHARACTERS = 2_000
"""The beginning of a statement says which it is."""

_EXPLAINED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
_FUNCTION = re.compile(r'"\.([a-z_]+)\(')
_TEXT = re.compile(r"'(?:[^']|'')*'")
_NUMBER = re.compile(r"(?<![\w$.])-?\d+(?:\.\d+)?")

_log = get_logger()


class _Rows(Protocol):
    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]: ...


class SlowStatements:
    """Explains them one after the other, each with its own values, on a connection that only reads."""

    def __init__(
        self,
        store: str,
        clock: Clock,
        reader: Callable[[], AbstractAsyncContextManager[_Rows]],
        seconds: float = SLOW_SECONDS,
    ) -> None:
        self.seconds = seconds
        self.monotonic = clock.monotonic
        self._store = store
        self._reader = reader
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}
        self._waiting: dict[str, tuple[Sequence[Any], float]] = {}
        self._explaining: asyncio.Task[None] | None = None

    def note(self, sql: str, values: Sequence[Any], seconds: float) -> None:
        """A statement took so long."""
        if sql.startswith("EXPLAIN"):
            return
        now = self.monotonic()
        if now < self._told.get(sql, 0.0) or sql in self._waiting or len(self._waiting) >= WAITING:
            self._untold[sql] = self._untold.get(sql, 0) + 1
            return
        if len(self._told) >= _REMEMBERED or len(self._untold) >= _REMEMBERED:
            self._told.clear()
            self._untold.clear()
        self._told[sql] = now + TOLD_EVERY_SECONDS
        self._waiting[sql] = values, seconds
        if self._explaining is None:
            self._explaining = asyncio.get_running_loop().create_task(self._explain())

    async def close(self) -> None:
        """Tell no more."""
        if self._explaining is not None:
            self._explaining.cancel()
            await asyncio.wait([self._explaining])

    async def _explain(self) -> None:
        try:
            while self._waiting:
                sql, (values, seconds) = next(iter(self._waiting.items()))
                plan = await self._plan(sql, values)
                del self._waiting[sql]
                _log.warning(
                    "slow statement",
                    store=self._store,
                    milliseconds=round(seconds * 1_000),
                    since_last_told=self._untold.pop(sql, 0),
                    functions=list(dict.fromkeys(reversed(_FUNCTION.findall(sql)))),
                    sql=_TEXT.sub("'?'", " ".join(sql.split()))[:_SQL_CHARACTERS],
                    plan=plan,
                )
        finally:
            self._explaining = None

    async def _plan(self, sql: str, values: Sequence[Any]) -> str:
        if not sql.lstrip().upper().startswith(_EXPLAINED):
            return "none: it is no query"
        try:
            async with asyncio.timeout(EXPLAIN_SECONDS), self._reader() as connection:
                lines = await connection.fetch(f"EXPLAIN {sql}", *values)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, StoreFailed, StoreClosed, OSError, ValueError) as error:
            return f"none: it could not be explained ({type(error).__name__})"
        return "\n".join(_without_values(line) for (line,) in lines)


def _without_values(line: str) -> str:
    # The line of a node names tables and costs; those below it hold the conditions, with what was looked for
    return line if "(cost=" in line else _NUMBER.sub("?", _TEXT.sub("'?'", line))


class TimedConnection(asyncpg.Connection):  # type: ignore[misc]  # the driver is not typed
    """The driver's connection, that notes what took long."""

    def watch(self, slow: SlowStatements) -> None:
        """Note it there."""
        self._slow = slow

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver does."""
        return await self._timed(super().execute(query, *args, **options), query, args)

    async def executemany(self, command: str, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        """As the driver does."""
        rows = list(args)
        return await self._timed(super().executemany(command, rows, **options), command, rows[0] if rows else ())

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver does."""
        return await self._timed(super().fetch(query, *args, **options), query, args)

    async def fetchmany(self, query: str, args: Iterable[Sequence[Any]], **options: Any) -> Any:
        """As the driver does."""
        rows = list(args)
        return await self._timed(super().fetchmany(query, rows, **options), query, rows[0] if rows else ())

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver does."""
        return await self._timed(super().fetchrow(query, *args, **options), query, args)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        """As the driver does."""
        return await self._timed(super().fetchval(query, *args, **options), query, args)

    async def _timed(self, running: Awaitable[Any], sql: str, values: Sequence[Any]) -> Any:
        slow = self._slow
        began = slow.monotonic()
        try:
            return await running
        finally:
            if (seconds := slow.monotonic() - began) > slow.seconds:
                slow.note(sql, values, seconds)

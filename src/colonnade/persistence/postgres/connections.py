"""The connections of one instance to its database: two that write, four that read, each kept for good.

None of them is ever reset, since none is handed to strangers. One that breaks is made anew when it is needed next.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg

from colonnade.persistence.failures import StoreAway, StoreClosed, StoreFailed
from colonnade.persistence.postgres.failures import AWAY, DRIVER_ERRORS
from colonnade.persistence.postgres.slow import SLOW_SECONDS, SlowStatements, TimedConnection
from colonnade.world import Clock, uuid_of

__all__ = [
    "CONNECTIONS",
    "Admit",
    "QUERYING",
    "READERS",
    "WRITERS",
    "Connection",
    "Connections",
    "Link",
    "connect",
    "end",
    "name_of",
    "roll_back",
    "settings_of",
]

WRITERS = 2
READERS = 4
CONNECTIONS = WRITERS + READERS + 1
"""What one instance may open: these and a listener."""

QUERYING = 3
"""So many readers answer queries at the same time: one is always left for the store's own pages."""

CONNECT_SECONDS = 10.0
ROLL_BACK_SECONDS = 10.0
_STATEMENTS_CACHED = 500


class Connection(Protocol):
    """What is used of the driver's connection, which has no types of its own."""

    async def execute(self, sql: str, *values: Any) -> str:
        """Run a statement; its status, like `UPDATE 1`."""

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of `rows`."""

    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        """All rows."""

    async def fetchmany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Sequence[Any]:
        """All rows of a statement that is run for each of `rows`."""

    async def fetchrow(self, sql: str, *values: Any) -> Any:
        """The first row, or None."""

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """The first row's first value, or None."""

    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> AbstractAsyncContextManager[None]:
        """A transaction around a block."""

    async def add_listener(self, channel: str, listener: Callable[[Any, int, str, object], None]) -> None:
        """Call `listener` with every notification."""

    def add_termination_listener(self, listener: Callable[[Any], None]) -> None:
        """Call `listener` when the connection is gone."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction was begun and has not ended."""

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""

    async def close(self) -> None:
        """Say goodbye to the server."""

    def terminate(self) -> None:
        """Close without a word."""


_SETTINGS = {"TimeZone": "UTC"}
_OWN_SETTINGS = {
    # What is run is short: compiling it to machine code takes longer than running it
    "jit": "off",
    # A schema that nobody's tables are in: a name that does not say whose it is meets nothing
    "search_path": "pg_catalog",
}
"""Of a connection that is nobody else's; a pooler's are shared, and it refuses them."""


def name_of(url: str, schema: str) -> str:
    """How a store is named to people: without user and password."""
    where = url.rsplit("@", 1)[-1].split("?", 1)[0].removeprefix("postgresql://").removeprefix("postgres://")
    return f"{where}#{schema}"


def settings_of(instance: str, *, read_only: bool = False, pooled: bool = False) -> Mapping[str, str]:
    """What the server is told of a connection of `instance`; a pooler's cannot be told to be `read_only`."""
    if pooled:
        # Counted one by one, not with their instance
        return {**_SETTINGS, "application_name": f"colonnade-pooled {instance}"}
    settings = {**_SETTINGS, **_OWN_SETTINGS, "application_name": f"colonnade {instance}"}
    return {**settings, "default_transaction_read_only": "on"} if read_only else settings


class Admit(Protocol):
    """Says which connections may be used."""

    async def admit(self, connection: Connection) -> None:
        """Let a new connection in; raises `StoreFailed`."""

    def check(self) -> None:
        """Whether any may be used any more; raises `StoreFailed`."""


class Link:
    """One connection, one user at a time."""

    def __init__(
        self,
        url: str,
        name: str,
        settings: Mapping[str, str],
        slow: SlowStatements,
        connect_seconds: float = CONNECT_SECONDS,
        *,
        pooled: bool = False,
        admit: Admit | None = None,
    ) -> None:
        self._url = url
        self._slow = slow
        self._connect_seconds = connect_seconds
        self._admit = admit
        self._name = name
        self._settings = settings
        self._pooled = pooled
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Connection]:
        """The connection, for one's own; raises `StoreFailed` when it cannot be made, `StoreClosed`."""
        async with self._turn:
            connection = await self._connected()
            try:
                yield connection
            except Exception as error:
                if not _is_told_by_server(error.__cause__ or error):
                    await _end_statement(connection)
                raise

    async def made_anew(self) -> Connection:
        """The connection after one that broke, for who holds it; raises `StoreFailed`."""
        return await self._connected()

    async def _connected(self) -> Connection:
        if self._closed:
            raise StoreClosed
        if self._admit is not None:
            self._admit.check()
        connection: Connection | None = self._connection
        if connection is None or connection.is_closed():
            try:
                connection = await connect(
                    self._url, self._settings, self._connect_seconds, self._slow, pooled=self._pooled
                )
                await self._admitted(connection)
            except DRIVER_ERRORS as error:
                kind = StoreAway if isinstance(error, AWAY) else StoreFailed
                raise kind(self._name, f"{type(error).__name__}: {error}") from error
            self._connection = connection
        return connection

    async def _admitted(self, connection: Connection) -> None:
        if self._admit is None:
            return
        try:
            await self._admit.admit(connection)
        except BaseException:
            connection.terminate()
            raise

    def break_off(self) -> None:
        """End the connection at once; who waits for an answer is told that it is gone."""
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> None:
        """Close it when who has it is done."""
        async with self._turn:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                await end(connection)


class Connections:
    """All but the listener's. Those that are `of` a schema are shared with other schemas', and closed with the rest.

    Those of a pooler are `pooled`: the server's connection behind them changes from transaction to transaction.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        instance: str,
        clock: Clock,
        *,
        pooled: bool = False,
        read_only: bool = False,
        admit: Admit | None = None,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        self.name = name_of(url, schema)
        self.pooled = pooled
        slow = self.slow = SlowStatements(self.name, clock, self.reader, slow_seconds)
        reading = settings_of(instance, read_only=True, pooled=pooled)
        writing = settings_of(instance, read_only=read_only, pooled=pooled)
        self.application = writing["application_name"]
        self.writers = [Link(url, self.name, writing, slow, pooled=pooled, admit=admit) for _ in range(WRITERS)]
        self._readers = [Link(url, self.name, reading, slow, pooled=pooled, admit=admit) for _ in range(READERS)]
        self._idle = list(self._readers)
        self._free = asyncio.Semaphore(READERS)
        self._free_for_queries = asyncio.Semaphore(QUERYING)
        self._closed = self._shared = False
        self._url = url

    def of(self, schema: str) -> "Connections":
        """These, for the store in `schema`."""
        own = copy(self)
        own.name, own._shared = name_of(self._url, schema), True
        return own

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Connection]:
        """A connection that only reads; raises `StoreFailed`, `StoreClosed`."""
        if self._closed:
            raise StoreClosed
        async with self._free:
            link = self._idle.pop()  # the one used last: its statements are prepared
            try:
                async with link.held() as connection:
                    yield connection
            finally:
                self._idle.append(link)

    @asynccontextmanager
    async def query_reader(self) -> AsyncIterator[Connection]:
        """One for what may take long."""
        if self._closed:
            raise StoreClosed
        async with self._free_for_queries, self.reader() as connection:
            yield connection

    async def close_readers(self) -> None:
        """Let what is being read end, and close."""
        self._closed = True
        if not self._shared:
            await self.slow.close()
        for link in () if self._shared else self._readers:
            await link.close()

    async def close_writers(self) -> None:
        """Let what is being written end, and close."""
        for link in () if self._shared else self.writers:
            await link.close()


async def connect(
    url: str,
    settings: Mapping[str, str],
    seconds: float = CONNECT_SECONDS,
    slow: SlowStatements | None = None,
    *,
    pooled: bool = False,
) -> Connection:
    """A new connection, whose statements are noted where they are `slow`; raises one of `DRIVER_ERRORS`."""
    connection: Connection = await asyncpg.connect(
        # Connections that only read are not taken for read-write ones; a primary is meant
        url.replace("target_session_attrs=read-write", "target_session_attrs=primary"),
        connection_class=asyncpg.Connection if slow is None else TimedConnection,
        timeout=seconds,
        server_settings=dict(settings),
        # Behind a pooler the next transaction may meet a server that has not prepared the statement, or another one
        # of that name: there statements have no names, and are sent whole each time
        statement_cache_size=0 if pooled else _STATEMENTS_CACHED,
        max_cached_statement_lifetime=0,
    )
    # The driver's own UUID is a subclass that encoders do not know
    await cast(Any, connection).set_type_codec(
        "uuid", schema="pg_catalog", encoder=_sixteen, decoder=uuid_of, format="binary"
    )
    if slow is not None:
        cast(TimedConnection, connection).watch(slow)
    return connection


async def roll_back(connection: Connection) -> None:
    """End a transaction that failed or was given up; a connection that does not do so soon is of no use any more."""
    if connection.is_closed():
        return
    try:
        async with asyncio.timeout(ROLL_BACK_SECONDS):
            await connection.execute("ROLLBACK")
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except DRIVER_ERRORS:
        connection.terminate()  # what the server does with a transaction whose client has gone


async def end(connection: Connection) -> None:
    """Close a connection that may be broken."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.close()
    except DRIVER_ERRORS:
        connection.terminate()


def _is_told_by_server(error: BaseException) -> bool:
    return getattr(error, "severity", None) is not None


async def _end_statement(connection: Connection) -> None:
    # One whose values have no form on the wire has been parsed and not run: the server waits for the rest, holds the
    # locks of its tables, and stays with this client where others share it
    if connection.is_closed() or connection.is_in_transaction():
        return
    try:
        await connection.execute("SELECT")
    except DRIVER_ERRORS:
        connection.terminate()


def _sixteen(value: UUID | bytes) -> bytes:
    # The store's own are bytes already: of those the driver does not ask whether they are lists, which takes longer
    return value if type(value) is bytes else cast(UUID, value).bytes

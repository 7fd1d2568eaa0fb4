"""A service's store in one schema of a PostgreSQL database, written by several processes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.engine.interfaces import Dialect

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.coalescing import Coalescer, Written
from colonnade.persistence.failures import StoreClosed, StoredAnswer, StoreFailed
from colonnade.persistence.migrations.versions import check_code
from colonnade.persistence.postgres.connections import Connection, Connections, name_of, roll_back
from colonnade.persistence.postgres.dialect import postgres_dialect
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, query_failure, write_failure
from colonnade.persistence.postgres.histories import HistoryEnded, Present, continue_history
from colonnade.persistence.postgres.holding import Hold
from colonnade.persistence.postgres.instance import PostgresInstance
from colonnade.persistence.postgres.leases import PostgresLeases
from colonnade.persistence.postgres.listening import Listener
from colonnade.persistence.postgres.log import PostgresLog
from colonnade.persistence.postgres.losses import PostgresLosses
from colonnade.persistence.postgres.notices import Notices
from colonnade.persistence.postgres.outbox import PostgresOutbox
from colonnade.persistence.postgres.pruning import prune
from colonnade.persistence.postgres.replica import PostgresReplica
from colonnade.persistence.postgres.room import check_room
from colonnade.persistence.postgres.rows import (
    Pages,
    PostgresAnswers,
    PostgresInbox,
    PostgresTimers,
    deferrals_of,
)
from colonnade.persistence.postgres.schema import Identity, forget_writers, identify, make
from colonnade.persistence.postgres.slow import SLOW_SECONDS
from colonnade.persistence.postgres.tail import Tail
from colonnade.persistence.postgres.versions import OWN_LINE, PostgresVersions, version_of
from colonnade.persistence.postgres.writer import Drawn, PostgresWriter
from colonnade.persistence.store import Committed, Deferral, Touched
from colonnade.persistence.unit import Unit, Write, WriteMany
from colonnade.world import World

__all__ = ["PostgresStore", "open_postgres_store"]

Rows = list[tuple[Any, ...]]

_WITH_SQL = frozenset({Write, WriteMany})
_DRAWN = Touched.EVENTS | Touched.OUTBOX


async def open_postgres_store(
    url: str,
    world: World,
    *,
    schema: str = "public",
    direct: str | None = None,
    read_only: bool = False,
    replica: str | None = None,
    within: PostgresInstance | None = None,
    slow_seconds: float = SLOW_SECONDS,
) -> "PostgresStore":
    """Open the store in `schema` of the database at `url`, and make it where there is none unless `read_only`.

    Where `url` is that of a pooler, which hands a server's connection to others after each transaction, `direct` is
    that of the server behind it. Of a pooler only the listener goes there: a pooler lets nobody listen.
    `replica` is the same database on a streaming standby of that server, where queries are read while it is fit.
    A statement that takes longer than `slow_seconds` is told in the log with its plan; within an instance that decides.
    The store shares the connections of the instance that it is opened `within`, and leaves them open.
    Raises `StoreFailed` for a database that cannot be reached or has no room for an instance's connections,
    `UnfitSchema` for one of another version.
    """
    if read_only and direct is not None:
        url, direct = direct, None  # that nothing is written is a setting of the connection
    instance = world.ids.new().hex if within is None else within.id
    if within is None:
        present = Present(name_of(url, schema))
        connections = Connections(
            url,
            schema,
            instance,
            world.clock,
            pooled=direct is not None,
            read_only=read_only,
            admit=present,
            slow_seconds=slow_seconds,
        )
        listener = Listener(direct or url, connections.application, world)
    else:
        connections, listener, present = within.connections.of(schema), within.listener, within.present
    try:
        async with connections.writers[0].held() as connection:
            try:
                if not read_only:
                    await check_room(connection, connections.name)
                    await make(connection, schema, world)
                    await continue_history(connection, schema, world)
                identity = await identify(connection, schema, connections.name)
                own = await version_of(connection, schema, OWN_LINE.name)
                check_code(connections.name, OWN_LINE.name, OWN_LINE.code, own)
                if not read_only:
                    await forget_writers(connection, schema)
            except DRIVER_ERRORS as error:
                raise write_failure(connections.name, error) from error
    except BaseException:
        await connections.close_writers()
        raise
    store = PostgresStore(
        schema, connections, listener, identity, present, world, instance, replica, shares=within is not None
    )
    if not read_only:
        present.know(schema, identity.history)
        try:
            await store.versions.enter(OWN_LINE)
            await store.listen()
        except BaseException:
            await connections.close_writers()
            raise
    return store


class PostgresStore:
    """All of a service's durable state."""

    def __init__(
        self,
        schema: str,
        connections: Connections,
        listener: Listener,
        identity: Identity,
        present: Present,
        world: World,
        instance: str,
        replica: str | None = None,
        *,
        shares: bool,
    ) -> None:
        self.name = connections.name
        self.history = identity.history
        self.ended = identity.ended
        self._present = present
        self.partitions = identity.partitions
        self.has_server = True
        self.dialect: Dialect = postgres_dialect(schema)
        self._connections = connections
        self._listener = None if shares else listener
        pages = self._pages = Pages(connections, schema)
        events, messages = Hold(partial(self._tell, Touched.EVENTS)), Hold(partial(self._tell, Touched.OUTBOX))
        self._holds = events, messages
        self.log = PostgresLog(pages, events, self._is_writing)
        tail = self._tail = Tail(partial(self._tell, Touched.OUTBOX))
        self.outbox = PostgresOutbox(pages, tail, messages)
        self.inbox = PostgresInbox(pages)
        self.timers = PostgresTimers(pages)
        self.losses = PostgresLosses(pages)
        self._answers = PostgresAnswers(pages)
        self._beside = connections.writers[-1]
        self.leases = PostgresLeases(self._beside, pages, self.name, schema, self._committed)
        self.versions = PostgresVersions(self._beside, self.name, schema, instance)
        self._checkpoint = pages.on("SELECT position FROM {s}.checkpoints WHERE projection = $1")
        self.replica: PostgresReplica | None = None
        if replica is not None:
            self.replica = PostgresReplica(
                replica, schema, instance, pages, lambda: self.history, connections.slow, world
            )
        drawn = Drawn()
        self._listeners: list[Callable[[Touched], None]] = []
        writers = [
            PostgresWriter(link, self.name, schema, self.partitions, drawn, tail, self._decided, world.ids.new(), world)
            for link in connections.writers
        ]
        self._defining = writers[-1]
        own = [writer.id.bytes for writer in writers]
        self._notices = Notices(
            listener,
            schema,
            connections,
            pages,
            drawn,
            own,
            world,
            self._added_by_others,
            self._decided,
            instance,
            present,
        )
        self._coalescers = [Coalescer(writer.write, self._written) for writer in writers]

    async def listen(self) -> None:
        """Hear from now on of what other processes commit, and look after the replica."""
        await self._notices.start()
        if self.replica is not None:
            await self.replica.start()

    def health(self, service: str) -> Sequence[HealthState]:
        """Why the replica is passed over, and whether this process has been left behind by the database."""
        states = [*self.replica.health(service)] if self.replica is not None else []
        try:
            self._present.check()
        except HistoryEnded as error:
            states.append(HealthState(f"{service}.history", Severity.FATAL, str(error)))
        return states

    async def commit(self, unit: Unit) -> Committed:
        """Commit all effects of `unit`, or none."""
        if not unit.effects and not unit.followers:
            # Whoever was handed in before it has been decided when it is: that must hold for all writers
            answers = await asyncio.gather(*(coalescer.commit(unit) for coalescer in self._coalescers))
            return Committed(max(answer.position for answer in answers))
        # Long transactions hold up no short ones
        has_sql = not _WITH_SQL.isdisjoint(map(type, unit.effects))
        return await self._coalescers[has_sql].commit(unit)

    def _is_writing(self) -> bool:
        return any(coalescer.is_writing for coalescer in self._coalescers)

    def watch(self, listener: Callable[[Touched], None]) -> None:
        """Call `listener` after every batch of commits, of any process, with what was added to."""
        self._listeners.append(listener)

    def _written(self, written: Written) -> None:
        self._committed(written.touched)
        if written.armed is not None:
            self.timers.armed(written.armed)

    def _committed(self, touched: Touched) -> None:
        self._notify(touched)
        self._notices.committed(touched)

    def _added_by_others(self, touched: Touched) -> None:
        if touched & _DRAWN:
            self._tail.forget()
        self._notify(touched)
        if touched & Touched.TIMERS:
            self.timers.armed(None)

    def _notify(self, touched: Touched) -> None:
        if touched & _DRAWN:
            self._decided()
        self._tell(touched)

    def _decided(self) -> None:
        for hold in self._holds:
            hold.decided()

    def _tell(self, touched: Touched) -> None:
        for listener in self._listeners:
            try:
                listener(touched)
            except Exception as error:  # it is the listener's, and the others must hear
                context = {"message": f"A watcher of the store {self.name} failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    async def define(self, statements: Sequence[str]) -> None:
        """Run statements that change the read models' schema, all or none."""
        await asyncio.shield(asyncio.ensure_future(self._defining.define(statements)))

    async def prune(self, messages: Sequence[int], now: int, limit: int) -> int:
        """Delete these messages, and up to `limit` answers that expired at `now`; how many answers went."""
        return await prune(self._pages, self._beside, self.name, messages, now, limit)

    async def query(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[Rows]:
        """The rows of each statement, all read from one consistent state; raises `QueryFailed`."""
        for again in (True, False):
            async with self._connections.query_reader() as connection:
                try:
                    return await self._read(connection, statements)
                except (StoreFailed, *DRIVER_ERRORS) as error:
                    if again and connection.is_closed():
                        continue
                    if isinstance(error, StoreFailed):
                        raise
                    raise query_failure(self.name, statements[-1][0], error) from error
        raise AssertionError("the second try returns or raises")

    async def _read(self, connection: Connection, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[Rows]:
        if len(statements) == 1 and not self._connections.pooled:  # it sees one state by itself, and only reads
            return [await self._rows(connection, *statements[0])]
        try:
            # In so many words: the driver loses count of a transaction whose beginning was cancelled
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            rows = [await self._rows(connection, sql, values) for sql, values in statements]
            await connection.execute("COMMIT")
        except BaseException:
            await roll_back(connection)
            raise
        return rows

    async def _rows(self, connection: Connection, sql: str, values: Sequence[Any]) -> Rows:
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        except DRIVER_ERRORS as error:
            raise query_failure(self.name, sql, error) from error

    async def checkpoint(self, projection: str) -> int:
        """The log position up to which a projection has been written."""
        position: int | None = await self._pages.value(self._checkpoint, projection)
        return position or 0

    async def answers(self, *scopes: str) -> Mapping[str, StoredAnswer]:
        """The answers kept for idempotent requests, by scope."""
        return await self._answers.of(scopes)

    async def deferrals(self, key: str) -> Sequence[Deferral]:
        """All who wait under `key`, in the order of `reply_to` and `reply_key`."""
        return await deferrals_of(self._pages, key)

    async def close(self) -> None:
        """Finish what is being committed and let go of the connections; again, where a first call was cancelled."""
        for coalescer in self._coalescers:
            await coalescer.close()
        await self._notices.close()
        if self._listener is not None:
            await self._listener.close()
        if self.replica is not None:
            await self.replica.close()
        await self._connections.close_readers()
        await self._leave()
        await self._connections.close_writers()

    async def _leave(self) -> None:
        try:
            await self.versions.leave()
        except (StoreFailed, StoreClosed):
            return  # it is forgotten when its time is over

"""A streaming standby of the store's server: queries are read there while it is fit for it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.failures import StoreClosed, StoreFailed
from colonnade.persistence.postgres.connections import QUERYING, Connection, Link, name_of, settings_of
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, query_failure
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.postgres.slow import SlowStatements
from colonnade.world import World

__all__ = ["LAG_LIMIT_SECONDS", "LOOK_SECONDS", "WAIT_SECONDS", "PostgresReplica", "Unfit"]

LOOK_SECONDS = 1.0
"""How often the primary and the replica are asked how far they are."""

SILENT_SECONDS = 3.0
"""A replica that has not answered a look for so long is away: what is being read there is read from the primary."""

LAG_LIMIT_SECONDS = 5.0
"""A replica that is further behind is passed over."""

LAGS_REMEMBERED = 3_600
"""So many looks: a replica that lags for longer, or is away, is told to lag by this."""

WAIT_SECONDS = 0.05
"""How long a query waits for the replica to come as far as it must, before it goes to the primary."""

_WAIT_LOOK_SECONDS = 0.005

# Up to where the log of changes is on the primary's disk: what a commit has acknowledged is, unless it does not wait
_REACHED = """
    SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
        ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn, (SELECT system_identifier FROM pg_control_system())
"""
_REPLAYED = "SELECT coalesce(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)"
_STATE = f"""
    SELECT pg_is_in_recovery(), ({_REPLAYED}), (SELECT system_identifier FROM pg_control_system()),
        (SELECT history FROM {{s}}.store)
"""
_WHOSE = "SELECT history, pg_is_in_recovery() FROM {s}.store"

Rows = list[tuple[Any, ...]]


class Unfit(StoreFailed):
    """The replica may not be read now."""


class PostgresReplica:
    """Answers queries while it follows the primary closely enough; that is looked at all the time."""

    def __init__(
        self,
        url: str,
        schema: str,
        instance: str,
        primary: Pages,
        history: Callable[[], UUID],
        slow: SlowStatements,
        world: World,
    ) -> None:
        self.name = name_of(url, schema)
        self._primary = primary
        self._history = history
        self._world = world
        self._state, self._whose = primary.on(_STATE), primary.on(_WHOSE)
        settings = settings_of(instance, read_only=True)
        self._looking = Link(url, self.name, settings, slow, SILENT_SECONDS)
        self._links = [Link(url, self.name, settings, slow, SILENT_SECONDS) for _ in range(QUERYING)]
        self._idle = list(self._links)
        self._free = asyncio.Semaphore(QUERYING)
        # When the primary was seen at a place which the replica has not come to yet
        self._ahead: deque[tuple[float, int]] = deque(maxlen=LAGS_REMEMBERED)
        self._system: int | None = None
        self._unfit: str | None = "has not been looked at yet"
        self._task: asyncio.Task[None] | None = None

    @property
    def is_fit(self) -> bool:
        """Whether queries may go there."""
        return self._unfit is None

    def health(self, service: str) -> Sequence[HealthState]:
        """Why it is passed over."""
        if self._unfit is None:
            return ()
        detail = f"The replica {self.name} {self._unfit}: queries go to the primary."
        return (HealthState(f"{service}.replica", Severity.DEGRADED, detail),)

    async def start(self) -> None:
        """Look at it, now and from now on."""
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def query(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[Rows]:
        """The rows of each statement, all from one state, of the primary's history; raises `Unfit`, `QueryFailed`."""
        if self._unfit is not None:
            raise Unfit(self.name, self._unfit)
        async with self._free:
            link = self._idle.pop()
            try:
                async with self._held(link) as connection:
                    return await self._read(connection, statements)
            except DRIVER_ERRORS as error:
                raise query_failure(self.name, statements[-1][0], error) from error
            finally:
                self._idle.append(link)

    async def catch_up(self) -> None:
        """Wait until it has all that is committed by now; raises `Unfit` where that takes longer than a moment."""
        wanted, _ = (await self._primary.all(_REACHED))[0]
        monotonic = self._world.clock.monotonic
        deadline = monotonic() + WAIT_SECONDS
        while True:
            async with self._held(self._looking) as connection:
                try:
                    replayed = await connection.fetchval(_REPLAYED)
                except DRIVER_ERRORS as error:
                    raise query_failure(self.name, _REPLAYED, error) from error
            if replayed >= wanted:
                return
            if monotonic() >= deadline:
                raise Unfit(self.name, "it has not come as far as the primary is")
            await self._world.sleep(_WAIT_LOOK_SECONDS)

    @asynccontextmanager
    async def _held(self, link: Link) -> AsyncIterator[Connection]:
        try:
            async with link.held() as connection:
                try:
                    yield connection
                finally:
                    if connection.is_closed() and self._unfit is None:
                        self._unfit = "is away (the connection ended)"
        except StoreFailed as error:
            if self._unfit is None and not isinstance(error, Unfit):
                self._unfit = f"is away ({error.reason})"
            raise

    async def close(self) -> None:
        """Stop looking, and close when what is being read is done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for link in (self._looking, *self._links):
            await link.close()

    async def _read(self, connection: Connection, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[Rows]:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # In the snapshot of the rows: a server that follows another history may hold what the primary never had
            history, following = await connection.fetchrow(self._whose)
            if not following or history != self._history():
                raise Unfit(self.name, "it follows another primary")
            return [[tuple(row) for row in await connection.fetch(sql, *values)] for sql, values in statements]

    async def _keep_looking(self) -> None:
        while True:
            await self._world.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        now = self._world.clock.monotonic()
        await self._look_at_primary(now)
        asked = asyncio.ensure_future(self._asked())
        try:
            done, _ = await asyncio.wait([asked], timeout=SILENT_SECONDS)
            if not done:
                self._unfit = "is away (it does not answer)"
                # Who reads there now reads from the primary instead
                for link in (self._looking, *self._links):
                    link.break_off()
                await asyncio.wait([asked])
        except asyncio.CancelledError:
            self._looking.break_off()
            await asyncio.wait([asked])
            raise
        self._unfit = asked.result() if done else self._unfit

    async def _look_at_primary(self, now: float) -> None:
        try:
            reached, self._system = (await self._primary.all(_REACHED))[0]
        except StoreFailed:
            return  # the replica has all that is known of it, or has not: nothing newer is known
        if not self._ahead or self._ahead[-1][1] < reached:
            self._ahead.append((now, reached))

    async def _asked(self) -> str | None:
        """Why it is not fit; None where it is."""
        try:
            async with self._looking.held() as connection:
                following, replayed, system, history = await connection.fetchrow(self._state)
        except StoreClosed:
            return "is closed"
        except StoreFailed as error:
            return f"is away ({error.reason})"
        except DRIVER_ERRORS as error:
            return f"is away ({type(error).__name__}: {error})"
        while self._ahead and self._ahead[0][1] <= replayed:
            self._ahead.popleft()
        lag = self._world.clock.monotonic() - self._ahead[0][0] if self._ahead else 0.0
        if not following:
            return "has been promoted and follows nobody"
        if (system, history) != (self._system or system, self._history()):
            return "follows another primary"
        return f"lags {lag:.0f} s" if lag > LAG_LIMIT_SECONDS else None

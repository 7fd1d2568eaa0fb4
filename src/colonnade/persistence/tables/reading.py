"""Reads of query handlers: in one snapshot the rows, the build that they come from, and how far that is.

They go to a replica where that gives the same answer, or one as good: whoever presents a token, keeps the answer or
decides by it gets what the primary would give.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVarTuple, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Executable, Row
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.sql.selectable import GenerativeSelect, TypedReturnsRows

from colonnade.persistence.failures import QueryFailed, StoreFailed
from colonnade.persistence.reads import StaleRead, reads_made, required_position
from colonnade.persistence.store import Replica
from colonnade.persistence.tables.build import Build
from colonnade.persistence.tables.models import Projected, ReadModels
from colonnade.persistence.tables.statements import Prepared, Statements
from colonnade.persistence.work import current_work

__all__ = ["StoreReads"]

Ts = TypeVarTuple("Ts")

Rows = Sequence[Row[*tuple[Any, ...]]]


class _Moved(Exception):
    """Projections are read from other builds than was thought."""


class StoreReads:
    """Reads the tables of one service."""

    def __init__(self, models: ReadModels) -> None:
        self._models = models
        self._statements = Statements(models.store.dialect)
        self._states: dict[int, tuple[str, Sequence[Any]]] = {}
        self._limited: WeakKeyDictionary[Executable, Executable] = WeakKeyDictionary()

    async def all(
        self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any] | None = None
    ) -> Sequence[Row[*Ts]]:
        """All rows."""
        return cast(Sequence[Row[*Ts]], await self._answer(self._statements.prepare(statement, values)))

    async def first(self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any] | None = None) -> Row[*Ts] | None:
        """The first row, or None."""
        rows = await self._answer(self._statements.prepare(self._limited_to_one(statement), values))
        return cast(Row[*Ts], rows[0]) if rows else None

    async def one(self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any] | None = None) -> Row[*Ts]:
        """The only row; raises `NoResultFound` or `MultipleResultsFound`."""
        rows = await self.all(statement, values)
        if not rows:
            raise NoResultFound("No row was found when one was required.")
        if len(rows) > 1:
            raise MultipleResultsFound(f"{len(rows)} rows were found when one was required.")
        return rows[0]

    def _limited_to_one(self, statement: Executable) -> Executable:
        if not isinstance(statement, GenerativeSelect):
            return statement
        limited = self._limited.get(statement)
        if limited is None:
            limited = self._limited[statement] = cast(Executable, statement.limit(1))
        return limited

    async def _answer(self, prepared: Prepared) -> Rows:
        required = self._required()
        replica = self._models.store.replica
        # What a command decides by is of the primary, as its aggregates are
        if replica is not None and replica.is_fit and current_work.get() is None:
            rows = await self._from_replica(replica, prepared, required)
            if rows is not None:
                return rows
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            moved = self._models.moved
            try:
                return await self._read(prepared, required)
            except _Moved:
                continue
            except StaleRead as stale:
                if deadline is None:
                    deadline = loop.time() + self._models.wait_seconds
                try:
                    async with asyncio.timeout_at(deadline):
                        await moved.wait()
                except TimeoutError:
                    raise stale from None

    async def _from_replica(self, replica: Replica, prepared: Prepared, required: int | None) -> Rows | None:
        """The rows, where the replica has come as far as it must; the primary knows the rest, failures included."""
        try:
            # What is kept must not be older than the last change of its tables that was told before
            if reads_made.get() is None and (required is None or self._are_projected(prepared)):
                try:
                    return await self._read(prepared, required, replica, by_checkpoint=True)
                except StaleRead:
                    # The token may be of an event that the projection does not take, and be passed all the same
                    if required is None:
                        return None
            await replica.catch_up()
            return await self._read(prepared, required, replica)
        except (_Moved, StaleRead, StoreFailed, QueryFailed):
            return None

    def _are_projected(self, prepared: Prepared) -> bool:
        return all(self._models.reader(table) is not None for table in prepared.tables)

    def _required(self) -> int | None:
        required = required_position.get()
        if required is None or required.service != self._models.service:
            return None
        # A position of another history says nothing about this one
        return required.position if required.history == self._models.store.history else None

    async def _read(
        self, prepared: Prepared, required: int | None, replica: Replica | None = None, *, by_checkpoint: bool = False
    ) -> Rows:
        """The rows; raises `StaleRead` where the tables lack what is `required`.

        `by_checkpoint` where the log itself may lack events up to there: only a checkpoint says that it does not.
        """
        models = self._models
        behind_tables = (models.reader(table) for table in prepared.tables)
        read_from = [
            (projected, models.read(name))
            for name, projected in {each.projection: each for each in behind_tables if each is not None}.items()
        ]
        by_events = required is not None and not by_checkpoint
        statements: list[tuple[str, Sequence[Any]]] = []
        for projected, build in read_from:
            statements.append(self._state(build))
            if required is not None and by_events:
                behind = models.builds.behind(build, required, projected.events)
                statements.append((behind.sql(str), behind.parameters))
        statements.append((prepared.sql(models.physical), prepared.parameters))
        try:
            *states, rows = await (replica or models.store).query(statements)
        except QueryFailed:
            # Its tables may have gone, with a build that is no longer read
            if replica is not None or not await self._any_moved(read_from):
                raise
            raise _Moved from None
        step = 2 if by_events else 1
        if [state[0][0] if state else None for state in states[::step]] != [build.number for _, build in read_from]:
            if replica is None:  # which knows no later than the primary which build is read
                await self._any_moved(read_from)
            raise _Moved
        if required is not None:
            lacking = states[1::2] if by_events else [state[0][1] < required for state in states]
            for (projected, _), state, missing in zip(read_from, states[::step], lacking, strict=True):
                if missing:
                    raise StaleRead(projected.projection, state[0][1], required)
        made = reads_made.get()
        if made is not None:
            come = min((state[0][1] for state in states[::step]), default=None)
            made.add(models.service, prepared.tables, come if required is None else max(come or 0, required))
        return prepared.rows(rows)

    def _state(self, build: Build) -> tuple[str, Sequence[Any]]:
        state = self._states.get(build.number)
        if state is None:
            prepared = self._models.builds.state(build)
            state = self._states[build.number] = (prepared.sql(str), prepared.parameters)
        return state

    async def _any_moved(self, read_from: Sequence[tuple[Projected, Build]]) -> bool:
        moved = False
        for projected, build in read_from:
            moved |= await self._models.look_again(projected.projection) != build
        return moved

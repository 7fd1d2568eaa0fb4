"""Writes batches of units on one connection: one statement a batch, one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from colonnade.persistence.coalescing import Written
from colonnade.persistence.failures import MessageTooLarge, MissedRow, OutcomeUnknown, StoreFailed, WriteFailed
from colonnade.persistence.moments import earliest
from colonnade.persistence.postgres.batch import Batch
from colonnade.persistence.postgres.connections import Connection, Link, roll_back
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, Broken, Busy, Lost, Overtaken, write_failure
from colonnade.persistence.postgres.histories import HistoryEnded
from colonnade.persistence.postgres.sealing import Candidate, candidate, seal
from colonnade.persistence.postgres.tail import Tail
from colonnade.persistence.sizes import check_size
from colonnade.persistence.store import Committed, Touched
from colonnade.persistence.unit import Unit, Write, WriteMany
from colonnade.world import World

__all__ = ["Drawn", "PostgresWriter"]

TOGETHER_MILLISECONDS = 50
"""How long a batch waits for a row that another process holds, before its units go one by one."""

ALONE_MILLISECONDS = 5_000

TRIES = 3
"""How often a unit is tried that others keep from its rows, or whose connection broke before it was committed."""

FIND_OUT_SECONDS = 10.0
"""How long it is tried to find out what came of a batch whose connection broke: a server that was killed is back."""

FIND_OUT_AGAIN_SECONDS = 0.1


_Drew = list[tuple[Batch, Sequence[int]]]
"""What a transaction has drawn, statement by statement."""


class Drawn:
    """How many positions and rows of the inbox this process has drawn or is about to: others have drawn the rest."""

    def __init__(self) -> None:
        self.positions = 0
        self.rows = 0

    def add(self, batch: Batch) -> None:
        """Count what `batch` will draw."""
        self.positions += batch.drawn
        self.rows += batch.rows

    def take_back(self, batch: Batch) -> None:
        """It came to nothing: what it has drawn all the same passes for that of others, who are looked for then."""
        self.positions -= batch.drawn
        self.rows -= batch.rows


class PostgresWriter:
    """Seals units that do not meet into a batch. One that loses or is refused harms no other."""

    def __init__(
        self,
        link: Link,
        store: str,
        schema: str,
        partitions: int,
        drawn: Drawn,
        tail: Tail,
        decided: Callable[[], None],
        id: UUID,
        world: World,
    ) -> None:
        self._link = link
        self._store = store
        self._schema = schema
        self._partitions = partitions
        self._drawn = drawn
        self._tail = tail
        self._decided = decided
        self.id = id
        self._world = world
        self._armed: int | None = None
        """The earliest moment of the timers that the batch at hand has armed so far."""
        self._number = 0
        """Of the last batch; used by whoever holds the link."""
        self._settle = f'SELECT "{schema}".settle_batch($1, $2)'

    async def write(self, batch: Sequence[Unit]) -> Written:
        """Commit the units of `batch` that lose against nobody; the result of each stands in its place."""
        results: list[Committed | Exception] = [Committed(0)] * len(batch)
        touched, self._armed = 0, None
        waiting = []
        for place, unit in enumerate(batch):
            try:
                for each in (unit, *unit.followers):
                    for effect in each.effects:
                        check_size(effect)
            except MessageTooLarge as error:
                results[place] = error
            else:
                waiting.append(candidate(place, unit))
        while waiting:
            sealed, waiting = seal(waiting)
            touched |= await self._write_sealed(sealed, results)
        return Written(results, Touched(touched), self._armed)

    async def _write_sealed(self, sealed: Sequence[Candidate], results: list[Committed | Exception]) -> int:
        """Write units that want no row of each other; what was added to."""
        if sealed[0].apart:
            return await self._alone(sealed[0], results)
        rest, tries_left = list(sealed), TRIES
        while rest:
            batch = Batch(self._schema, self._partitions)
            try:
                self._collect(batch, [each.unit for each in rest])
                drawn = await self._run(batch, TOGETHER_MILLISECONDS)
            except Lost as lost:
                for number, conflict in lost.conflicts.items():
                    results[rest[number].place] = conflict
                rest = [each for number, each in enumerate(rest) if number not in lost.conflicts]
            except Broken as broken:
                tries_left -= 1
                if not tries_left:
                    for each in rest:
                        results[each.place] = broken
                    return 0
            except (Busy, WriteFailed) as failed:
                tries_left -= 1
                if tries_left and isinstance(failed, Overtaken):
                    continue
                # Whose row was locked or refused is not known when all are written at once
                touched = 0
                for each in rest:
                    touched |= await self._alone(each, results)
                return touched
            except Exception as error:
                for each in rest:
                    results[each.place] = error
                return batch.touched if isinstance(error, OutcomeUnknown) else 0
            else:
                for number, each in enumerate(rest):
                    results[each.place] = Committed(batch.position_of(number, drawn))
                self._armed = earliest(self._armed, batch.armed)
                return batch.touched
        return 0

    async def _alone(self, one: Candidate, results: list[Committed | Exception]) -> int:
        for tries_left in reversed(range(TRIES)):
            batch = Batch(self._schema, self._partitions)
            try:
                if not one.apart:
                    self._collect(batch, [one.unit])
                    position = batch.position_of(0, await self._run(batch, ALONE_MILLISECONDS))
                else:
                    position = await self._apart(one, batch)
            except Lost as lost:
                (results[one.place],) = lost.conflicts.values()
            except (Busy, Broken) as again:
                results[one.place] = again
                if tries_left:
                    continue
            except OutcomeUnknown as error:
                results[one.place] = error
                return batch.touched
            except Exception as error:
                results[one.place] = error
            else:
                results[one.place] = Committed(position)
                self._armed = earliest(self._armed, batch.armed)
                return batch.touched
            return 0
        return 0

    def _collect(self, batch: Batch, units: Sequence[Unit]) -> None:
        try:
            for unit in units:
                batch.add(unit)
        except ValueError as error:  # text that has no encoding
            raise write_failure(self._store, error) from error

    async def _run(self, batch: Batch, lock_milliseconds: int) -> Sequence[int]:
        async with self._link.held() as connection:
            self._number += 1
            sql, arguments = batch.statement(lock_milliseconds, (self.id.bytes, self._number))
            self._drawn.add(batch)
            try:
                drawn: Sequence[int] = await connection.fetchval(sql, *arguments)
            except DRIVER_ERRORS as error:
                if not connection.is_closed():
                    self._came_to_nothing(batch)
                    raise write_failure(self._store, error) from error
                end = await self._find_out(error)
                if end is None:
                    self._came_to_nothing(batch)
                    raise Broken(self._store, _told(error)) from error
                self._tail.forget()  # what it has drawn went with the connection
                return [end] * (batch.drawn + 1)
        self._committed(batch, drawn)
        return drawn

    def _committed(self, batch: Batch, drawn: Sequence[int]) -> None:
        if batch.drawn and self._tail.is_collecting:
            self._tail.add(drawn[: batch.drawn], batch.outbox_rows(drawn))

    def _came_to_nothing(self, batch: Batch) -> None:
        self._drawn.take_back(batch)
        if batch.drawn:
            self._decided()  # others may be held by what it had drawn, and nobody else tells

    async def define(self, statements: Sequence[str]) -> None:
        """Run statements that change tables, all or none; raises `WriteFailed`, `StoreFailed`."""

        async def run(connection: Connection) -> None:
            for statement in statements:
                await connection.execute(statement)

        for tries_left in reversed(range(TRIES)):
            try:
                async with self._link.held() as connection:
                    return await self._in_transaction(connection, run, "")
            except Broken:
                if not tries_left:
                    raise

    async def _apart(self, one: Candidate, batch: Batch) -> int:
        position, drew = 0, _Drew()

        async def run(connection: Connection) -> None:
            nonlocal position, drew
            steps = self._in_order if one.in_order else self._around_sql
            position, drew = await steps(connection, one.unit, batch)

        async with self._link.held() as connection:
            try:
                await self._in_transaction(connection, run, f"; SET LOCAL lock_timeout = {ALONE_MILLISECONDS}")
            except OutcomeUnknown:
                raise
            except BaseException:
                self._came_to_nothing(batch)
                raise
        for each, drawn in drew:
            self._committed(each, drawn)
        return position

    async def _in_transaction(
        self, connection: Connection, run: Callable[[Connection], Awaitable[None]], settings: str
    ) -> None:
        self._number += 1
        mark = f"""SELECT "{self._schema}".mark_batch('{self.id}', {self._number})"""
        committing = False
        try:
            await connection.execute(f"BEGIN{settings}; {mark}")
            await run(connection)
            committing = True
            await connection.execute("COMMIT")
        except DRIVER_ERRORS as error:
            if not connection.is_closed():
                await roll_back(connection)
                raise write_failure(self._store, error) from error
            if not committing or await self._find_out(error) is None:
                raise Broken(self._store, _told(error)) from error
        except BaseException:
            await roll_back(connection)
            raise

    async def _find_out(self, broke: Exception) -> int | None:
        """What came of the last batch, whose connection is gone: the log's end if it is committed; None if it never is.

        Raises `OutcomeUnknown` where the database does not come back.
        """
        number = self._number
        monotonic = self._world.clock.monotonic
        deadline = monotonic() + FIND_OUT_SECONDS
        while True:
            try:
                connection = await self._link.made_anew()
                end: int | None = await connection.fetchval(self._settle, self.id.bytes, number)
            except (StoreFailed, *DRIVER_ERRORS) as error:
                if monotonic() >= deadline or isinstance(error, HistoryEnded):
                    self._tail.forget()
                    raise OutcomeUnknown(self._store, f"{_told(broke)}; then {_told(error)}") from error
                await self._world.sleep(FIND_OUT_AGAIN_SECONDS)
            else:
                self._number = number + 1  # which the database has taken for the sake of refusing that one
                return end

    async def _around_sql(self, connection: Connection, unit: Unit, batch: Batch) -> tuple[int, _Drew]:
        batch.add(unit)
        self._drawn.add(batch)
        checks, draws = batch.split()
        drawn: Sequence[int] = await _called(connection, checks)
        for effect in unit.effects:
            if isinstance(effect, Write | WriteMany):
                await _write(connection, effect)
        if draws.is_empty:
            return batch.position_of(0, drawn), []
        drawn = await _called(connection, draws)
        return batch.position_of(0, drawn), [(draws, drawn)]

    async def _in_order(self, connection: Connection, unit: Unit, batch: Batch) -> tuple[int, _Drew]:
        drawn: Sequence[int] = ()
        drew = _Drew()
        position: int | None = None
        if unit.fence is not None:
            fence = Batch(self._schema, self._partitions)
            fence.hold(unit.fence)
            drawn = await _called(connection, fence)
        for of, effect in ((each, effect) for each in (unit, *unit.followers) for effect in each.effects):
            if isinstance(effect, Write | WriteMany):
                await _write(connection, effect)
                continue
            step = Batch(self._schema, self._partitions)
            step.add_effect(effect, of)
            self._drawn.add(step)
            batch.drawn += step.drawn
            batch.rows += step.rows
            drawn = await _called(connection, step)
            drew.append((step, drawn))
            position = drawn[-1]
            batch.touched |= step.touched
            batch.armed = earliest(batch.armed, step.armed)
        return position if position is not None else drawn[-1], drew


async def _called(connection: Connection, batch: Batch) -> Sequence[int]:
    sql, arguments = batch.statement(ALONE_MILLISECONDS)
    drawn: Sequence[int] = await connection.fetchval(sql, *arguments)
    return drawn


async def _write(connection: Connection, effect: Write | WriteMany) -> None:
    if isinstance(effect, Write):
        status: str = await connection.execute(effect.sql, *effect.parameters)
        if effect.must_hit and status.rpartition(" ")[2] == "0":
            raise MissedRow(effect.sql)
    elif not effect.must_hit:
        await connection.executemany(effect.sql, effect.rows)
    else:
        hits: Sequence[Any] = await connection.fetchmany(f"{effect.sql} RETURNING 1", effect.rows)
        if len(hits) < len(effect.rows):
            raise MissedRow(effect.sql)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

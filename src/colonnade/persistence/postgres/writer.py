"""Writes batches of units on one connection: one statement a batch, one transaction."""

import asyncio
from collections.abc import Sequence
from typing import Any

from colonnade.persistence.coalescing import Written
from colonnade.persistence.postgres.batch import Batch
from colonnade.persistence.postgres.connections import Connection, Link
from colonnade.persistence.postgres.failures import DRIVER_ERRORS, Busy, Lost, write_failure
from colonnade.persistence.postgres.sealing import Candidate, candidate, seal
from colonnade.persistence.sizes import check_size
from colonnade.persistence.store import Committed, MessageTooLarge, MissedRow, Touched, WriteFailed
from colonnade.persistence.unit import Unit, Write, WriteMany

__all__ = ["Drawn", "PostgresWriter"]

TOGETHER_MILLISECONDS = 50
"""How long a batch waits for a row that another process holds, before its units go one by one."""

ALONE_MILLISECONDS = 5_000

TRIES = 3
"""How often a unit is tried that others keep from its rows."""


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

    def __init__(self, link: Link, store: str, schema: str, partitions: int, drawn: Drawn) -> None:
        self._link = link
        self._store = store
        self._schema = schema
        self._partitions = partitions
        self._drawn = drawn

    async def write(self, batch: Sequence[Unit]) -> Written:
        """Commit the units of `batch` that lose against nobody; the result of each stands in its place."""
        results: list[Committed | Exception] = [Committed(0)] * len(batch)
        touched = 0
        waiting = []
        for place, unit in enumerate(batch):
            try:
                for effect in unit.effects:
                    check_size(effect)
            except MessageTooLarge as error:
                results[place] = error
            else:
                waiting.append(candidate(place, unit))
        while waiting:
            sealed, waiting = seal(waiting)
            touched |= await self._write_sealed(sealed, results)
        return Written(results, Touched(touched))

    async def _write_sealed(self, sealed: Sequence[Candidate], results: list[Committed | Exception]) -> int:
        """Write units that want no row of each other; what was added to."""
        if sealed[0].apart:
            return await self._alone(sealed[0], results)
        rest = list(sealed)
        while rest:
            batch = Batch(self._schema, self._partitions)
            try:
                self._collect(batch, [each.unit for each in rest])
                drawn = await self._run(batch, TOGETHER_MILLISECONDS)
            except Lost as lost:
                for number, conflict in lost.conflicts.items():
                    results[rest[number].place] = conflict
                rest = [each for number, each in enumerate(rest) if number not in lost.conflicts]
            except (Busy, WriteFailed):
                # Whose row was locked or refused is not known when all are written at once
                touched = 0
                for each in rest:
                    touched |= await self._alone(each, results)
                return touched
            except Exception as error:
                for each in rest:
                    results[each.place] = error
                return 0
            else:
                for number, each in enumerate(rest):
                    results[each.place] = Committed(batch.position_of(number, drawn))
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
            except Busy as busy:
                results[one.place] = busy
                if tries_left:
                    continue
            except Exception as error:
                results[one.place] = error
            else:
                results[one.place] = Committed(position)
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
        sql, arguments = batch.statement(lock_milliseconds)
        async with self._link.held() as connection:
            self._drawn.add(batch)
            try:
                drawn: Sequence[int] = await connection.fetchval(sql, *arguments)
            except DRIVER_ERRORS as error:
                self._drawn.take_back(batch)
                raise write_failure(self._store, error) from error
        return drawn

    async def _apart(self, one: Candidate, batch: Batch) -> int:
        async with self._link.held() as connection:
            try:
                await connection.execute(f"BEGIN; SET LOCAL lock_timeout = {ALONE_MILLISECONDS}")
                steps = self._in_order if one.in_order else self._around_sql
                position = await steps(connection, one.unit, batch)
                await connection.execute("COMMIT")
            except BaseException as error:
                self._drawn.take_back(batch)
                await self._roll_back(connection)
                if isinstance(error, DRIVER_ERRORS):
                    raise write_failure(self._store, error) from error
                raise
        return position

    async def _around_sql(self, connection: Connection, unit: Unit, batch: Batch) -> int:
        batch.add(unit)
        self._drawn.add(batch)
        checks, draws = batch.split()
        drawn: Sequence[int] = await _called(connection, checks)
        for effect in unit.effects:
            if isinstance(effect, Write | WriteMany):
                await _write(connection, effect)
        if not draws.is_empty:
            drawn = await _called(connection, draws)
        return batch.position_of(0, drawn)

    async def _in_order(self, connection: Connection, unit: Unit, batch: Batch) -> int:
        drawn: Sequence[int] = ()
        position: int | None = None
        if unit.fence is not None:
            fence = Batch(self._schema, self._partitions)
            fence.hold(unit.fence)
            drawn = await _called(connection, fence)
        for effect in unit.effects:
            if isinstance(effect, Write | WriteMany):
                await _write(connection, effect)
                continue
            step = Batch(self._schema, self._partitions)
            step.add_effect(effect, unit)
            self._drawn.add(step)
            batch.drawn += step.drawn
            batch.rows += step.rows
            drawn = await _called(connection, step)
            position = drawn[-1]
            batch.touched |= step.touched
        return position if position is not None else drawn[-1]

    async def _roll_back(self, connection: Connection) -> None:
        if connection.is_closed():
            return
        try:
            await asyncio.shield(connection.execute("ROLLBACK"))
        except DRIVER_ERRORS:
            connection.terminate()  # what the server does with a transaction whose client has gone


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
